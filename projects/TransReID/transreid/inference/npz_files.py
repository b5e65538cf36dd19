"""Feature files as ``.npz``, written in one pass with one block of features in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from reid_common.errors import UserError


def write_npz(
    path: Path,
    paths: list[str],
    dim: int,
    blocks: Iterator[np.ndarray],
    ids: dict[str, np.ndarray],
    meta: str,
) -> None:
    """Write a feature file.

    Args:
        path: file to write.
        paths: N image files.
        dim: D.
        blocks: arrays (n, D) float32, N rows together.
        ids: columns of (N,) int64.
        meta: JSON.
    """
    small = {"paths": np.array(paths, dtype=np.str_), "meta": np.array(meta), **ids}
    with zipfile.ZipFile(path, "w") as archive:
        for name, column in small.items():
            # numpy stores 4 bytes a letter and pads: it shrinks by a lot.
            with archive.open(_member(name, zipfile.ZIP_DEFLATED), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, column, allow_pickle=False)
        with archive.open(_member("features", zipfile.ZIP_STORED), "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(paths), dim)}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(block.astype("<f4", copy=False).tobytes())


def _member(name: str, compression: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: the same features give the same bytes
    member.compress_type = compression
    return member


def read_npz(
    path: Path, required: Sequence[str], only: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the arrays of a file, or those of the names in ``only``.

    Raises:
        UserError: the file cannot be read, or one of ``required`` is not in it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {n: file[n] for n in file.files if only is None or n in only}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; make it again") from error
    absent = [name for name in required if name not in columns]
    if absent:
        raise UserError(
            f"{str(path)!r} lacks {', '.join(absent)}; it holds {', '.join(columns) or 'nothing'}"
        )
    return columns
