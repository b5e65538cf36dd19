"""Parts of any data set by its name: "Market1501:identities=200", "Market1501:cameras=1-4,6".

The identities are the first N of a permutation that the seed fixes ("Market1501:identities=200,
seed=3", without the space; default 0), drawn for training and test alone, so that 100 identities
are among the 200 of the same seed. The protocol of a test stays: all queries and gallery images of
the chosen identities, the same cameras, and of the gallery images that no query matches (junk and
distractors) the same share as of the identities.

"cameras=", alone or last ("Market1501:identities=200:cameras=1-4"), keeps the images of some
cameras, numbered from 1 as in file names, in training, queries and gallery: for tests under cameras
that training has not seen.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

from reid_common.errors import UserError

EXAMPLE = "Market1501:identities=200"
_THINNED = re.compile(
    r"(?P<name>.+?)(?::identities=(?P<count>[^,:]*)(?:,seed=(?P<seed>[^,:]*))?)?"
    r"(?::cameras=(?P<cameras>[^:]*))?"
)
_CAMERAS = re.compile(r"[1-9]\d*(-\d+)?(,[1-9]\d*(-\d+)?)*")


@dataclass(frozen=True)
class Thinning:
    """The part of a data set that is used.

    Attributes:
        identities: how many of training, and as many of the test; None: all.
        seed: of the choice.
        cameras: 0-based cameras whose images are used; None: all.
    """

    identities: int | None = None
    seed: int = 0
    cameras: frozenset[int] | None = None


def split_thinning(name: str) -> tuple[str, Thinning | None]:
    """Split "Market1501:identities=200" into the name of the whole set and its thinning.

    Raises:
        UserError: identities is no whole number from 1 on, or seed none from 0 on, or cameras no
            list of numbers from 1 on; one of them is there twice, or they are in the wrong order.
    """
    match = _THINNED.fullmatch(name)
    if match is None or match["count"] is match["cameras"] is None:
        return name, None
    if re.search(r":(identities|cameras)=", match["name"]):
        raise UserError(
            f"data set {name!r}: write identities and cameras once each, and cameras last, as in "
            f"{EXAMPLE + ':cameras=1-4'!r}"
        )
    cameras = None if match["cameras"] is None else _parsed_cameras(name, match["cameras"])
    if match["count"] is None:
        return match["name"], Thinning(cameras=cameras)
    count, seed = match["count"], match["seed"] or "0"
    if not (count.isdecimal() and int(count) > 0 and seed.isdecimal()):
        raise UserError(
            f"data set {name!r}: write a number of identities, and a seed if it is not to be 0, as "
            f"in {EXAMPLE!r} or {EXAMPLE + ',seed=1'!r}"
        )
    return match["name"], Thinning(int(count), int(seed), cameras)


def with_identities(name: str, count: int) -> str:
    """The name with so many identities, of the same seed and cameras."""
    match = _THINNED.fullmatch(name)
    assert match is not None  # a name is not empty
    seed = f",seed={match['seed']}" if match["seed"] else ""
    cameras = f":cameras={match['cameras']}" if match["cameras"] else ""
    return f"{match['name']}:identities={count}{seed}{cameras}"


def _parsed_cameras(name: str, text: str) -> frozenset[int]:
    """0-based cameras of "1-4,6", which count from 1."""
    if not _CAMERAS.fullmatch(text):
        raise UserError(
            f"data set {name!r}: write the cameras to keep, as in ':cameras=1-4,6' (from 1)"
        )
    cameras: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cameras.update(range(int(first) - 1, int(last or first)))
    return frozenset(cameras)


def thin(data: Any, name: str, thinning: Thinning) -> None:
    """Leave some identities, or cameras, of a FastReID data set, in place.

    Args:
        data: opened without ``combineall``.
        name: of the data set, for messages.
        thinning: what is left.

    Raises:
        UserError: neither training nor test has that many identities, or no image is left.
    """
    if thinning.identities is not None:
        _thin_identities(data, name, thinning, thinning.identities)
    if thinning.cameras is not None:
        for split in ("train", "query", "gallery"):
            items = [i for i in getattr(data, split) if camera_of(i[2]) in thinning.cameras]
            setattr(data, f"_{split}", items)
        if not (data.train or data.query or data.gallery):
            raise UserError(f"data set {name!r} has no image of these cameras; name others")
    data.data = getattr(data, data.mode)


def camera_of(camid: Any) -> int:
    """0-based camera of an item's id: the number that "market1501_3" or 3 ends in; -1 for none."""
    match = re.search(r"(?:^|_)(-?\d+)$", str(camid))
    return int(match[1]) if match else -1


def _thin_identities(data: Any, name: str, thinning: Thinning, count: int) -> None:
    train, query = (sorted({item[1] for item in items}) for items in (data.train, data.query))
    most = max(len(train), len(query))
    if count > most:
        raise UserError(
            f"data set {name!r} has {len(train)} identities in training and {len(query)} in its "
            f"queries; set identities={most} or fewer"
        )
    kept = _chosen(train, thinning)
    data._train = [item for item in data.train if item[1] in kept]
    kept = _chosen(query, thinning)
    data._query = [item for item in data.query if item[1] in kept]
    matched = set(query)
    unmatched = [i for i, item in enumerate(data.gallery) if item[1] not in matched]
    share = len(kept) / len(query) if query else 1.0
    few = random.Random(f"{thinning.seed} gallery").sample(unmatched, round(share * len(unmatched)))
    others = set(few)
    data._gallery = [item for i, item in enumerate(data.gallery) if item[1] in kept or i in others]


def _chosen(identities: list[Any], thinning: Thinning) -> set[Any]:
    order = random.Random(thinning.seed).sample(identities, len(identities))
    return set(order[: thinning.identities])
