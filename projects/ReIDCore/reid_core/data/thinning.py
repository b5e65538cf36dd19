"""Fewer identities of any data set, chosen repeatably by its name: "Market1501:identities=200".

The identities are the first N of a permutation that the seed fixes ("Market1501:identities=200,
seed=3", without the space; default 0), drawn for training and test alone, so that 100 identities
are among the 200 of the same seed. The protocol of a test stays: all queries and gallery images of
the chosen identities, the same cameras, and of the gallery images that no query matches (junk and
distractors) the same share as of the identities.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reid_common.errors import UserError

EXAMPLE = "Market1501:identities=200"
_THINNED = re.compile(r"(?P<name>.+?):identities=(?P<count>[^,:]*)(?:,seed=(?P<seed>[^,:]*))?")


@dataclass(frozen=True)
class Thinning:
    """How many identities of a data set are used.

    Attributes:
        identities: of training, and as many of the test.
        seed: of the choice.
    """

    identities: int
    seed: int = 0


def split_thinning(name: str) -> tuple[str, Thinning | None]:
    """Split "Market1501:identities=200" into the name of the whole set and its thinning.

    Raises:
        UserError: identities is no whole number from 1 on, or seed none from 0 on.
    """
    match = _THINNED.fullmatch(name)
    if match is None:
        return name, None
    count, seed = match["count"], match["seed"] or "0"
    if not (count.isdecimal() and int(count) > 0 and seed.isdecimal()):
        raise UserError(
            f"data set {name!r}: write a number of identities, and a seed if it is not to be 0, as "
            f"in {EXAMPLE!r} or {EXAMPLE + ',seed=1'!r}"
        )
    return match["name"], Thinning(int(count), int(seed))


def thin(data: Any, name: str, thinning: Thinning) -> None:
    """Leave some identities of a FastReID data set, in place.

    Args:
        data: opened without ``combineall``.
        name: of the data set, for messages.
        thinning: how many identities.

    Raises:
        UserError: neither training nor test has that many.
    """
    train, query = _identities(data.train), _identities(data.query)
    most = max(len(train), len(query))
    if thinning.identities > most:
        raise UserError(
            f"data set {name!r} has {len(train)} identities in training and {len(query)} in its "
            f"queries; set identities={most} or fewer"
        )
    kept = _chosen(train, thinning)
    data._train = [item for item in data.train if item[1] in kept]
    kept = _chosen(query, thinning)
    data._query = [item for item in data.query if item[1] in kept]
    unmatched = [i for i, item in enumerate(data.gallery) if item[1] not in set(query)]
    share = len(kept) / len(query) if query else 1.0
    few = random.Random(f"{thinning.seed} gallery").sample(unmatched, round(share * len(unmatched)))
    others = set(few)
    data._gallery = [item for i, item in enumerate(data.gallery) if item[1] in kept or i in others]
    data.data = getattr(data, data.mode)


def _identities(items: Sequence[Sequence[Any]]) -> list[Any]:
    """Distinct identities, in a fixed order."""
    return sorted({item[1] for item in items})


def _chosen(identities: list[Any], thinning: Thinning) -> set[Any]:
    order = random.Random(thinning.seed).sample(identities, len(identities))
    return set(order[: thinning.identities])
