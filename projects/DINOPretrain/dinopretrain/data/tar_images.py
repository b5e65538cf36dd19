"""Images in tar files (WebDataset's layout), read in any order through an index of offsets.

A tar has no table of contents: all its headers are read once, and what they say is kept beside it
(``shard-0000.tar.index.npz``), or in the user's cache folder where that cannot be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tarfile
import zipfile
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from reid_common.errors import UserError
from reid_common.files import replacing
from reid_common.handles import Handles
from reid_common.progress import shown

from .images import ListedImages, stamp_of
from .listing import is_image_name
from .path_list import PathList

logger = logging.getLogger(__name__)

VERSION = 2  # of the index: 1 knew fewer suffixes of images
MAX_OPEN = 64  # tar files that a process keeps open


class TarIndex(NamedTuple):
    """The names of the images in one tar file, and (start, size) of each in bytes, (N, 2) int64."""

    names: PathList
    spans: np.ndarray


class TarImages(ListedImages):
    """Images in uncompressed tar files: in the order of the files, then of their members.

    Raises:
        UserError: one is no tar file, is compressed or cut off, or there is no image in any.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = [os.path.abspath(path) for path in paths]
        indices = [tar_index(path) for path in shown(self.paths, "tar files")]
        super().__init__(PathList.from_iterable(n for x in indices for n in x.names.iter_raw()))
        if not len(self):
            raise UserError(f"there is no image in {self.paths[0]!r} and the tar files beside it")
        self.spans = torch.from_numpy(np.concatenate([index.spans for index in indices]))
        self.starts = np.cumsum([0, *(len(index.names) for index in indices)])
        self._files: Handles[str, int] = Handles(_open_tar, os.close, limit=MAX_OPEN)

    def _tar(self, index: int) -> int:
        return int(np.searchsorted(self.starts, index, side="right")) - 1

    def name(self, index: int) -> str:
        """Member, behind the tar file's path."""
        return f"{self.paths[self._tar(index)]}/{self.keys[index]}"

    def content(self, index: int) -> bytes:
        """The member's content."""
        start, size = self.spans[index].tolist()
        with self._files.use(self.paths[self._tar(index)]) as descriptor:
            return os.pread(descriptor, size, start)

    def stamp(self, index: int) -> tuple[int, int]:
        """Where the member's content begins in the tar, and the tar's time of change."""
        return int(self.spans[index, 0]), stamp_of(self.paths[self._tar(index)])[1]


def _open_tar(path: str) -> int:
    return os.open(path, os.O_RDONLY)


def tar_index(path: str) -> TarIndex:
    """Index of a tar file: what was kept of it, else made now and kept."""
    beside = f"{path}.index.npz"
    digest = hashlib.sha256(os.path.abspath(path).encode("utf-8", "surrogateescape")).hexdigest()
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    places = (beside, os.path.join(cache, "dinopretrain", f"{digest[:32]}.npz"))
    for place in places:
        if kept := _kept(path, place):
            return kept
    index = scan_tar(path)
    for place in places:
        with contextlib.suppress(OSError, UserError):
            _keep(index, path, place)
            return index
    logger.warning("The index of %s cannot be kept anywhere: each run reads it again", path)
    return index


def scan_tar(path: str) -> TarIndex:
    """Read all headers of a tar file; raises UserError if it is none, compressed or cut off."""
    spans = array("q")
    try:
        with tarfile.open(path, "r:") as tar:
            names = PathList.from_iterable(_image_members(tar, spans))
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{path!r} cannot be read as a tar file: {error}; copy it again, or unpack it if it is "
            "compressed (images in a compressed one cannot be read in any order)"
        ) from error
    if spans and sum(spans[-2:]) > os.path.getsize(path):
        raise UserError(f"{path!r} is cut off in {names[len(names) - 1]!r}; copy it again")
    return TarIndex(names, np.array(spans, np.int64).reshape(-1, 2))


def _image_members(tar: tarfile.TarFile, spans: array[int]) -> Iterator[bytes]:
    """Yield the names of a tar's images, and append where each is to ``spans``."""
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # which would grow with each
        name = member.name.encode("utf-8", "surrogateescape")
        if member.isreg() and not member.issparse() and is_image_name(name):
            spans.extend((member.offset_data, member.size))
            yield name


def _stamp(path: str) -> np.ndarray:
    return np.array([VERSION, *stamp_of(path)], np.int64)


def _kept(path: str, place: str) -> TarIndex | None:
    try:
        with np.load(place, allow_pickle=False) as file:
            if not np.array_equal(file["stamp"], _stamp(path)):
                return None
            names = PathList(torch.from_numpy(file["data"]), torch.from_numpy(file["offsets"]))
            return TarIndex(names, file["spans"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _keep(index: TarIndex, path: str, place: str) -> None:
    """Write an index so that it is complete or not there, whoever else writes the same."""
    data, offsets = index.names.data.numpy(), index.names.offsets.numpy()
    with replacing(place, shared=True) as temporary, open(temporary, "wb") as file:
        np.savez(file, data=data, offsets=offsets, spans=index.spans, stamp=_stamp(path))
