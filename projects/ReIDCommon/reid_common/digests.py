"""Hashes of files, lists of images and descriptions, and what differs between two descriptions."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def digest(blocks: Iterable[Any]) -> str:
    """SHA-256 of text or bytes in blocks, as if they were one; hexadecimal digits."""
    sha = hashlib.sha256()
    for block in blocks:
        sha.update(block.encode() if isinstance(block, str) else block)
    return sha.hexdigest()


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return digest(iter(lambda: file.read(2**20), b""))


def images_digest(rows: Iterable[Sequence[Any]]) -> str:
    """SHA-256 of a list of images and of their files' sizes and times, in hexadecimal digits.

    With size and time a repaired or replaced image counts as another one; reading all of it would
    take as long as extracting its feature.

    Args:
        rows: (path, what else a feature depends on) of each image, as JSON can hold it.
    """

    def state(path: str) -> tuple[int, int]:
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # ValueError: a NUL in a listed name
            return -1, -1
        return status.st_size, status.st_mtime_ns

    return digest(json.dumps([*row, *state(row[0])]) for row in rows)


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], keys: Mapping[str, str]
) -> list[str]:
    """Names, the values of ``keys``, of what differs between two descriptions that JSON can hold.

    Keys that only one of the two has do not count.
    """
    first, second = (
        {key: json.dumps(x[key], sort_keys=True) for key in keys if key in x} for x in (one, other)
    )
    return [keys[k] for k in keys if k in first and first[k] != second.get(k, first[k])]
