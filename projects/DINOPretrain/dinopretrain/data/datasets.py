"""Data sets without labels, by name in DATASETS.NAMES.

::

    LUPerson                          in $FASTREID_DATASETS/LUPerson or LUP
    LUPerson:/data/LUP                wherever it is; images, LMDB and keys.pkl, or tar files
    LUPerson:/data/LUP?list=CFS.pkl   only what a list names: text, Parquet, or the released pickle
    LUPerson:/data/CFS_list.pkl       the same, the images beside the list
    ImageFolder:/data/x               any other images, in the same forms
    ToyUnlabeled                      synthetic, drawn on first use

For pre-training without labels only: they have no identities, queries or gallery.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from reid_common.errors import UserError
from reid_core.data.opening import MissingDataset, find_path
from toyreid.people.once import warn_of_other_spec
from toyreid.pool.plan import PoolSpec
from toyreid.pool.render import render_pool

from .images import UnlabelledImages
from .listing import check_list_name, is_list_file
from .sources import check_place, open_list, open_place

LIST = "?list="


class UnlabelledDataset:
    """Images without labels; what is opened is opened when :attr:`images` is first asked for.

    Args:
        root: folder of all data sets.
        argument: "PLACE", "PLACE?list=FILE", "?list=FILE" or a list file; PLACE and FILE as given
            or within ``root``.

    Raises:
        UserError: the place or the list is not there, or cannot be what it should be.
    """

    dataset_name = ""
    folders: tuple[str, ...] = ()  # in root; the first that is there is the default place
    # FastReID's splits of labelled images
    train: tuple[Any, ...] = ()
    query: tuple[Any, ...] = ()
    gallery: tuple[Any, ...] = ()

    def __init__(self, root: str = "datasets", argument: str | None = None, **kwargs: Any) -> None:
        self.root = root
        self._images: Callable[[], UnlabelledImages | None] = lambda: None
        place, _, listed = (argument or "").partition(LIST)
        self.list_file = find_path(listed, root, "a list of images") if listed else None
        self.place: str | None = find_path(place, root, "the images") if place else None
        if self.place and os.path.isfile(self.place) and is_list_file(self.place):
            if self.list_file:
                raise UserError(f"{argument!r} names two lists; before ?list= stands a folder")
            self.list_file, self.place = self.place, None
        elif self.place is None:
            self.place = self.default_place()
        if self.list_file:
            check_list_name(self.list_file)
        if self.place is not None:
            check_place(self.place)

    def default_place(self) -> str:
        """The data set's own folder in the root; raises MissingDataset if there is none."""
        for folder in self.folders:
            place = os.path.join(self.root, folder)
            if os.path.isdir(place):
                return place
        name = type(self).__name__
        raise MissingDataset(
            f"there is no folder {' or '.join(map(repr, self.folders))} in "
            f"{os.path.abspath(self.root)!r}; set FASTREID_DATASETS, or write the place behind a "
            f"colon, as in {name}:/data/{name}"
        )

    @property
    def images(self) -> UnlabelledImages:
        """All images, or those of the list; millions of names are kept only while they are used.

        Raises:
            UserError: there are none, or they are stored in a way that is not known.
        """
        images = self._images()
        if images is None:
            place = self.place or ""
            images = open_list(self.list_file, self.place) if self.list_file else open_place(place)
            self._images = weakref.ref(images)
        return images


@DATASET_REGISTRY.register()
class LUPerson(UnlabelledDataset):
    """LUPerson: 4.18 million images of some 200,000 persons, which a detector found in videos.

    Fu et al., "Unsupervised Pre-training for Person Re-identification", CVPR 2021.
    """

    dataset_name = "luperson"
    argument_example = "LUPerson:/data/LUP"
    folders = ("LUPerson", "LUP")


@DATASET_REGISTRY.register()
class ImageFolder(UnlabelledDataset):
    """Any images, in any of the forms that LUPerson may have."""

    dataset_name = "imagefolder"
    argument_example = "ImageFolder:/data/images"

    def __init__(self, root: str = "datasets", *, argument: str, **kwargs: Any) -> None:
        super().__init__(root, argument, **kwargs)


@DATASET_REGISTRY.register()
class ToyUnlabeled(UnlabelledDataset):
    """A synthetic pool: half like ToyReID, with other identities, half what pools suffer from.

    Cropped bodies, low resolution, other domains' persons, no person at all. Which image is which
    stands in ``truth.csv``, for measurements; nothing that trains may read it.

    Args:
        root: folder of the data sets; the images are in, or rendered into, ``root/ToyUnlabeled``.
        argument: "?list=FILE", names relative to ToyUnlabeled/images.
        spec: size and seed. None takes what is there already, else renders the default.
    """

    dataset_name = "toyunlabeled"
    argument_example = "ToyUnlabeled:?list=chosen.txt"

    def __init__(
        self,
        root: str = "datasets",
        argument: str | None = None,
        spec: PoolSpec | None = None,
        **kwargs: Any,
    ) -> None:
        if argument and not argument.startswith(LIST):
            raise UserError(f"ToyUnlabeled:{argument} is not known; write ToyUnlabeled{LIST}FILE")
        folder = render_pool(root, spec)
        if spec is None:
            warn_of_other_spec(folder, PoolSpec())
        self.folders = (folder.name,)
        super().__init__(root, argument, **kwargs)
