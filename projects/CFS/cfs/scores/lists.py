"""Lists of chosen images, best first: text, Parquet, or a pickled list as the released one.

``dinopretrain.data.listing.read_list`` reads them all.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from dinopretrain.data.listing import LIST_SUFFIXES, PARQUET, PICKLE, is_list_file
from dinopretrain.data.path_list import PathList
from reid_common.column_files.parquet import import_pyarrow
from reid_common.errors import UserError
from reid_common.files import replacing


def check_list_name(path: Path) -> None:
    """Raise UserError if no list can be written under this name."""
    if not is_list_file(str(path)):
        raise UserError(f"{str(path)!r} is no list; end its name in {', '.join(LIST_SUFFIXES)}")


def write_list(path: Path, names: PathList, scores: np.ndarray) -> None:
    """Write a list of K names, best first, and their scores (K,).

    The suffix says which kind: text has a name a line; Parquet the columns image and score; a
    pickle is one list of str.

    Raises:
        UserError: the suffix is none of a list's, a name that text cannot hold, or the file cannot
            be written.
    """
    check_list_name(path)
    kind = path.name.lower()
    with replacing(path) as temporary:
        if kind.endswith(PARQUET):
            pa = import_pyarrow()
            columns = {"image": pa.array(list(names), pa.string()), "score": pa.array(scores)}
            pa.parquet.write_table(pa.table(columns), temporary)
        elif kind.endswith(PICKLE):
            temporary.write_bytes(pickle.dumps(list(names)))
        else:
            check_text_names(names)
            temporary.write_bytes(b"".join(name + b"\n" for name in names.iter_raw()))


def check_text_names(names: PathList) -> None:
    """Raise UserError for the first name that a list of text cannot hold."""
    for name in names.iter_raw():
        if name != name.strip() or name.startswith(b"#") or len(name.splitlines()) != 1:
            raise UserError(
                f"a text list cannot hold the name {name.decode('utf-8', 'replace')!r} (spaces "
                "around it, line breaks, or # in front); rename the image, or write .parquet or "
                ".pkl"
            )
