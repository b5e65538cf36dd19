"""Names without the folders of the machine that a model was trained on."""

from __future__ import annotations

import os
from collections.abc import Sequence


def local_name(text: str) -> str:
    """A name without the folder of this machine: "FolderReID:/home/me/shop" -> "FolderReID:shop".

    Text that names no absolute path stays as it is.
    """
    head, colon, place = text.rpartition(":")
    if "://" in text or not (place.startswith("~") or os.path.isabs(place)):
        return text
    return head + colon + os.path.basename(place.rstrip("/"))


def without_places(value: object) -> object:
    """The same values, nested in lists and mappings, with :func:`local_name` of every text."""
    if isinstance(value, dict):
        return {key: without_places(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [without_places(entry) for entry in value]
    return local_name(value) if isinstance(value, str) else value
