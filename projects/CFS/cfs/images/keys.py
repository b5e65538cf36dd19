"""Find the images of a training set in a list, although both may spell names differently.

A list may name images as the data set does (relative to its folder of images), from above that
folder ("images/..."), in full, relative to the data root, or by the bare file name.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator

import numpy as np
from dinopretrain.data.images import ChainedImages, ListedImages, SelectedImages, UnlabelledImages
from dinopretrain.data.path_list import PathList
from reid_common.errors import UserError
from reid_core.data.opening import data_root

logger = logging.getLogger(__name__)

_ABOVE = b"images/"


def key_list(images: UnlabelledImages) -> PathList:
    """Names of images as their data set spells them, mostly relative to its folder."""
    if isinstance(images, ListedImages):
        return images.keys
    if isinstance(images, SelectedImages):
        return key_list(images.images).take(images.indices.numpy())
    if isinstance(images, ChainedImages):
        parts = map(key_list, images.sources)
        return PathList.from_iterable(itertools.chain.from_iterable(p.iter_raw() for p in parts))
    return PathList.from_iterable(_full_names(images))


def _full_names(images: UnlabelledImages) -> Iterator[bytes]:
    return (os.fsencode(images.name(index)) for index in range(len(images)))


def positions_in(
    names: PathList, source: str, images: UnlabelledImages, keys: PathList
) -> np.ndarray:
    """Find where in a list (``names``, of the file ``source``) each image of a training set stands.

    Each data set has one spelling: the first by which the list names any of its images.

    Returns:
        (len(images),) int64: place in ``names``, -1 where the list does not name an image.

    Raises:
        UserError: it names none, or names files without folders and several images are called so.
    """
    parts = images.sources if isinstance(images, ChainedImages) else [images]
    of_parts = [keys] if len(parts) == 1 else list(map(key_list, parts))
    found = np.concatenate(
        [_positions(names, source, *part) for part in zip(parts, of_parts, strict=True)]
    )
    num_named = len(np.unique(found[found >= 0]))
    if not num_named:
        raise UserError(
            f"none of the {len(names)} images of {source!r} (such as {names[0]!r}) is among the "
            f"{len(keys)} training images (such as {keys[0]!r}); use the list that belongs to "
            "these images, or write its names as paths in the data set's folder"
        )
    if num_named < len(names):
        logger.warning(
            "%d of the %d names in %s stand for no training image, or for one that another names",
            len(names) - num_named,
            len(names),
            source,
        )
    return found


def _positions(
    names: PathList, source: str, images: UnlabelledImages, keys: PathList
) -> np.ndarray:
    """As :func:`positions_in`, of one data set; -1 everywhere where none is named."""
    found = np.full(len(keys), -1, np.int64)
    for spelling, respelt in _spellings(images, keys):
        found = names.find(PathList.from_iterable(respelt()))
        if (found >= 0).any():
            if spelling == "file name":
                _check_unambiguous(found, names, source, keys)
            break
    return found


def _spellings(
    images: UnlabelledImages, keys: PathList
) -> Iterator[tuple[str, Callable[[], Iterator[bytes]]]]:
    root = os.path.join(os.fsencode(os.path.abspath(data_root())), b"")
    yield "key", keys.iter_raw
    yield "below images/", lambda: (key.removeprefix(_ABOVE) for key in keys.iter_raw())
    yield "above images/", lambda: (_ABOVE + key for key in keys.iter_raw())
    yield "full name", lambda: _full_names(images)
    yield "absolute", lambda: map(os.path.abspath, _full_names(images))
    yield (
        "in the data root",
        lambda: (os.path.abspath(name).removeprefix(root) for name in _full_names(images)),
    )
    yield "file name", lambda: map(os.path.basename, keys.iter_raw())


def _check_unambiguous(found: np.ndarray, names: PathList, source: str, keys: PathList) -> None:
    distinct, counts = np.unique(found[found >= 0], return_counts=True)
    if (counts == 1).all():
        return
    place = int(distinct[counts > 1][0])
    first, second = np.flatnonzero(found == place)[:2].tolist()
    raise UserError(
        f"{source!r} names {names[place]!r} without a folder, but {keys[first]!r} and "
        f"{keys[second]!r} are both called so; write paths in the data set's folder"
    )
