"""What may be wrong with a data set, each found by one function; the worst first in ``FINDERS``.

A finder takes the parts of one or more data sets and the facts of their files, and returns a line
for each thing found. Parts of different data sets are compared where both are used together: a
training image among the test images of another data set is found, too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..data.records import GALLERY, QUERY, TRAIN
from .image_facts import ImageFacts
from .parts import Entry, Part

Facts = dict[str, ImageFacts]
MIN_SIZE = 16  # pixels: one patch of a ViT-B/16


@dataclass(frozen=True)
class Problem:
    """One kind of problem.

    Attributes:
        kind: short name, a key of :data:`FINDERS`.
        meaning: what it is and does.
        found: one line for each.
    """

    kind: str
    meaning: str
    found: list[str]


def _by_content(parts: Iterable[Part], facts: Facts) -> list[list[tuple[Part, Entry]]]:
    """Groups of entries whose files have the same content, or are the same."""
    groups = defaultdict(list)
    for part in parts:
        for entry in part.entries:
            fact = facts[entry.path]
            if not fact.fault:
                groups[fact.digest].append((part, entry))
    return [group for group in groups.values() if len(group) > 1]


def _names(entries: Iterable[Entry]) -> str:
    return " = ".join(dict.fromkeys(entry.path for entry in entries))


def unreadable(parts: Sequence[Part], facts: Facts, min_size: int) -> list[str]:
    """Files that are missing, empty, cut off or no images."""
    paths = dict.fromkeys(entry.path for part in parts for entry in part.entries)
    return [f"{path}: {facts[path].fault}" for path in paths if facts[path].fault]


def leaked(parts: Sequence[Part], facts: Facts, min_size: int) -> list[str]:
    """Test images that are among the training images."""
    return [
        _names(entry for _, entry in group)
        for group in _by_content(parts, facts)
        if len({part.is_test for part, _ in group}) == 2
    ]


def shared_identities(parts: Sequence[Part], facts: Facts, min_size: int) -> list[str]:
    """Identities of training images that test images have, too."""
    train = {e.identity for part in parts if not part.is_test for e in part.entries if not e.junk}
    test = {e.identity for part in parts if part.is_test for e in part.entries if not e.junk}
    return sorted(train & test)


def contradictory(parts: Sequence[Part], facts: Facts, min_size: int) -> list[str]:
    """Identical files under different identities of one data set."""
    found = []
    for group in _by_content(parts, facts):
        by_set: dict[str, dict[str, Entry]] = defaultdict(dict)
        for part, entry in group:
            by_set[part.dataset].setdefault(entry.identity, entry)
        for owners in by_set.values():
            if len(owners) > 1:
                found.append(f"{_names(owners.values())} ({', '.join(sorted(owners))})")
    return found


def unmatched(parts: Sequence[Part], facts: Facts, min_size: int) -> list[str]:
    """Queries without a gallery image of their identity from another, or an unknown, camera."""
    found = []
    for part in parts:
        if part.split != QUERY:
            continue
        gallery = defaultdict(list)
        for other in parts:
            if other.dataset == part.dataset and other.split == GALLERY:
                for entry in other.entries:
                    gallery[entry.identity].append(entry)
        for entry in part.entries:
            if not any(_counts(entry, match) for match in gallery[entry.identity]):
                found.append(f"{entry.path} ({entry.identity})")
    return found


def _counts(query: Entry, match: Entry) -> bool:
    """Whether an evaluation counts a gallery image of the query's identity."""
    return query.camera < 0 or match.camera < 0 or query.camera != match.camera


def trivial(parts: Sequence[Part], facts: Facts, min_size: int) -> list[str]:
    """Queries that are in their gallery, where the evaluation counts that match."""
    found = []
    for group in _by_content([part for part in parts if part.is_test], facts):
        queries = [(part, entry) for part, entry in group if part.split == QUERY]
        gallery = [(part, entry) for part, entry in group if part.split == GALLERY]
        for part, query in queries:
            same = [e for p, e in gallery if p.dataset == part.dataset]
            hits = [e for e in same if e.identity == query.identity and _counts(query, e)]
            if hits:
                found.append(_names([query, *hits]))
    return found


def duplicates(parts: Sequence[Part], facts: Facts, min_size: int) -> list[str]:
    """Identical files within one part."""
    groups = (group for part in parts for group in _by_content([part], facts))
    return [_names(entry for _, entry in group) for group in groups]


def lonely(parts: Sequence[Part], facts: Facts, min_size: int) -> list[str]:
    """Identities with one training image."""
    found = []
    for part in parts:
        if part.split == TRAIN:
            counts = Counter(entry.identity for entry in part.entries)
            found += [f"{e.identity}: {e.path}" for e in part.entries if counts[e.identity] == 1]
    return found


def tiny(parts: Sequence[Part], facts: Facts, min_size: int) -> list[str]:
    """Images with fewer than ``min_size`` pixels in a side."""
    found = []
    for path in dict.fromkeys(entry.path for part in parts for entry in part.entries):
        fact = facts[path]
        if not fact.fault and min(fact.width, fact.height) < min_size:
            found.append(f"{path}: {fact.width}x{fact.height}")
    return found


Finder = Callable[[Sequence[Part], Facts, int], list[str]]
FINDERS: dict[str, tuple[Finder, str]] = {
    "unreadable": (unreadable, "files that cannot be read: a run would stop at them"),
    "leak": (leaked, "test images that are among the training images: figures are too good"),
    "contradiction": (contradictory, "identical files under different identities: wrong labels"),
    "shared identity": (
        shared_identities,
        "identities in training and testing: figures say little about new ones",
    ),
    "unmatched query": (
        unmatched,
        "queries without a gallery image from another camera: left out of the figures",
    ),
    "query in gallery": (trivial, "queries that find their own copy: figures are too good"),
    "duplicate": (duplicates, "identical files within a split"),
    "single image": (lonely, "identities with one training image: no positive pair for a triplet"),
    "tiny": (tiny, "images that are smaller than --min-size"),
}


def find_problems(parts: Sequence[Part], facts: Facts, min_size: int = MIN_SIZE) -> list[Problem]:
    """Run all finders; return what was found, the worst first.

    Args:
        parts: of data sets that are used together.
        facts: of each of their files.
        min_size: pixels below which an image is called tiny.
    """
    problems = []
    for kind, (finder, meaning) in FINDERS.items():
        found = finder(parts, facts, min_size)
        if found:
            problems.append(Problem(kind, meaning, found))
    return problems
