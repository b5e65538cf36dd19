"""A filter by a list of names."""

from __future__ import annotations

import os

import numpy as np
from dinopretrain.data.images import UnlabelledImages
from dinopretrain.data.listing import LIST_SUFFIXES, is_list_file, read_list
from dinopretrain.data.path_list import PathList
from reid_common.errors import UserError
from reid_core.data.opening import data_root, find_path

from ..images.keys import positions_in
from .base import DataFilter, Drop, Items
from .registry import FILTER_REGISTRY


@FILTER_REGISTRY.register()
class ListFilter(DataFilter):
    """Keeps the images that a list names, or drops them.

    Args:
        list: text, Parquet or pickled list (CFS_list.pkl), see :mod:`dinopretrain.data.listing`;
            as given or in the data root.
        exclude: drop the listed images and keep the others.
    """

    files = ("LIST",)

    def __init__(self, list: str, exclude: bool = False) -> None:
        self.path = find_path(str(list), data_root(), "a list of images")
        if not is_list_file(self.path) or not os.path.isfile(self.path):
            suffixes = ", ".join(LIST_SUFFIXES)
            raise UserError(f"{self.path!r} is no list; its name must end in {suffixes}")
        if not isinstance(exclude, bool):
            raise UserError(f"EXCLUDE is {exclude!r}; write True or False")
        self.exclude = exclude

    def look_up(self, images: UnlabelledImages, keys: PathList) -> None:
        """Find the images in the list."""
        self.listed: np.ndarray = positions_in(read_list(self.path), self.path, images, keys) >= 0

    def judge(self, items: Items, row: int) -> Drop | None:
        """Drop what is not in the list, or what is."""
        if self.listed[items.positions[row]] != self.exclude:
            return None
        name = os.path.basename(self.path)
        return Drop(f"in the list {name}" if self.exclude else f"not in the list {name}")
