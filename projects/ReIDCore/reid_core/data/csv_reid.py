"""Images in a table, CSV or Parquet: ``DATASETS.NAMES ("CSVReID:/data/list.csv",)``.

::

    image,identity,split,camera,view
    door/0001.jpg,alice,train,door,0
    hall/0002.jpg,alice,train,hall,

``image`` is relative to the table's folder, or absolute. ``identity`` and ``camera`` are any text.
``split`` is train, query, gallery, test (queries are chosen, see records.choose_queries) or empty:
for training and testing. ``view`` (or ``viewpoint``) is a number from 0. Only image and identity
are needed; an empty camera or view is unknown. Other columns are ignored. Values may be separated
by commas, semicolons or tabs. The same table serves as a list for tools/extract_features.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from reid_common.errors import UserError
from reid_common.tables import COLUMNS, Row, cell_number, cell_text, read_rows

from .names import name_of_path
from .opening import MissingDataset, find_path
from .records import SPLITS, Record, RecordDataset

NEEDED = ("image", "identity")


def to_records(rows: Iterable[Row], folder: str) -> list[Record]:
    """Turn rows into records; image paths are relative to ``folder``.

    Raises:
        UserError: a value that is missing or wrong, an image twice in a split, or under two
            identities: its file, line and column.
    """
    records: list[Record] = []
    places: dict[tuple[str, str], str] = {}
    owners: dict[str, tuple[str, str]] = {}
    for place, row in rows:
        record = _to_record(place, row, folder)
        if not records and not os.path.isfile(record.path):
            raise UserError(
                f"{place}: column 'image': there is no file {record.path!r}; paths are relative to "
                f"the folder of the table, {folder!r}"
            )
        identity, other = owners.setdefault(record.path, (record.identity, place))
        if identity != record.identity:
            raise UserError(
                f"{place}: column 'identity': {row['image']!r} is {record.identity!r} here and "
                f"{identity!r} at {other}; remove one of the two"
            )
        if (other := places.setdefault((record.path, record.split), place)) != place:
            raise UserError(
                f"{place}: column 'image': {row['image']!r} stands at {other} already; remove one"
            )
        records.append(record)
    return records


def _to_record(place: str, row: Mapping[str, Any], folder: str) -> Record:
    values = {name: cell_text(row.get(name)) for name in COLUMNS}
    for name in NEEDED:
        if not values[name]:
            raise UserError(f"{place}: column {name!r} is empty; fill it in")
    split = values["split"].lower()
    if split and split not in SPLITS:
        raise UserError(
            f"{place}: column 'split': {values['split']!r} is none of {', '.join(SPLITS)}; leave "
            "it empty for an image that is for training and testing"
        )
    path = os.path.join(folder, os.path.expanduser(values["image"]))
    view = cell_number(row, "view", place)
    return Record(path, values["identity"], split, values["camera"], view)


@DATASET_REGISTRY.register()
class CSVReID(RecordDataset):
    """Images that a table lists; the module's docstring shows its columns.

    ``argument`` is a Parquet file (.parquet, .pq), or a CSV file of any other name, as given or
    within ``root``, the folder of all data sets.

    Raises:
        MissingDataset: the table is not there, or has no rows.
        UserError: it is a folder, or something in it is wrong: file, line and column.
    """

    argument_example = "CSVReID:/data/list.csv"
    argument_name = staticmethod(name_of_path)

    def __init__(self, root: str = "datasets", *, argument: str, **kwargs: Any) -> None:
        self.table = path = find_path(argument, root, "a table of images, .csv or .parquet")
        if os.path.isdir(path):
            raise UserError(
                f"CSVReID: {path!r} is a folder; for a folder an identity write "
                f"'FolderReID:{argument}'"
            )
        rows = read_rows(path, NEEDED)
        records = to_records(rows, os.path.dirname(os.path.abspath(path)))
        if not records:
            raise MissingDataset(f"CSVReID: {path!r} has no rows; write one line an image")
        super().__init__(name_of_path(argument), records, **kwargs)
