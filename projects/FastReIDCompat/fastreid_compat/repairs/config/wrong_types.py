"""Values of a wrong type in a config, in words."""

from __future__ import annotations

import re

_MISMATCH = re.compile(
    r"Type mismatch \(<class '(.*?)'> vs. <class '(.*?)'>\) with values "
    r"\((.*) vs. (.*)\) for config key: (\S+)",
    re.DOTALL,
)
_KINDS = {
    "bool": "True or False",
    "int": "a whole number",
    "float": "a number with a decimal point",
    "str": "a text",
    "list": "a list",
    "tuple": "a list",
}


def wrong_type(text: str) -> str:
    """Say what to write instead of a value whose type is not that of the default.

    Args:
        text: of the error; another one is returned as it is.
    """
    return _MISMATCH.sub(_what_to_write, text)


def _what_to_write(found: re.Match[str]) -> str:
    wanted, given, default, value, key = found.groups()
    if wanted not in _KINDS:
        return f"{key} is a section of keys, not one key; write KEY VALUE for a key in it"
    kind = _KINDS.get(given, given)
    return f"{key} is {value} ({kind}); write {_KINDS[wanted]}, such as {default}"
