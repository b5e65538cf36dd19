"""The one exception that command-line tools show as a message instead of a traceback."""


class UserError(ValueError):
    """Bad input: the message names the thing, the value received and what to do about it."""
