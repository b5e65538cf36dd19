"""Arrays in ``.npz`` files, written in one pass with one block of rows in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from .columns import Blocks, Column, check_present


def write_npz(path: Path, columns: Mapping[str, Column]) -> None:
    """Write a file: :class:`Blocks` as they come, everything else compressed before them."""
    whole = {n: column for n, column in columns.items() if not isinstance(column, Blocks)}
    with zipfile.ZipFile(path, "w") as archive:
        for name, column in whole.items():
            # numpy stores text with 4 bytes a letter, and pads it: that shrinks by a lot.
            array = np.array(column, np.str_) if isinstance(column, list) else column
            with archive.open(_member(name, zipfile.ZIP_DEFLATED), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        for name, matrix in columns.items():
            if not isinstance(matrix, Blocks):
                continue
            with archive.open(_member(name, zipfile.ZIP_STORED), "w", force_zip64=True) as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": matrix.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for rows in matrix.rows:
                    file.write(rows.astype("<f4", copy=False).tobytes())


def _member(name: str, compression: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: the same content gives the same bytes
    member.compress_type = compression
    return member


def read_npz(
    path: Path, required: Sequence[str], optional: Sequence[str] | None = ()
) -> dict[str, np.ndarray]:
    """Read arrays of a file; ``optional`` ones may be absent, and None reads all there are.

    Raises:
        UserError: the file cannot be read, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            check_present(path, required, file.files)
            wanted = file.files if optional is None else {*required, *optional}
            return {name: file[name] for name in file.files if name in wanted}
    except UserError:
        raise
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; write it again") from error
