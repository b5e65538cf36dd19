"""Side information, from the raw name of a camera to a row of the SIE table."""
