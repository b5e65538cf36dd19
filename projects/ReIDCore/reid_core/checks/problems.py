"""What may be wrong with a data set, each found by one function; the worst first in ``FINDERS``.

A finder takes the parts of one or more data sets, the facts of their files and the pixels below
which an image is tiny, and yields a line for each thing found. Parts of different data sets are
compared where both are used together: a training image among the test images of another data set is
found, too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..data.matches import counts, unmatched_queries
from ..data.records import GALLERY, QUERY, TRAIN
from .image_facts import ImageFacts
from .parts import Entry, Part

Parts = Sequence[Part]
Facts = dict[str, ImageFacts]
Finder = Callable[[Parts, Facts, int], Iterator[str]]
MIN_SIZE = 16  # pixels: one patch of a ViT-B/16
FINDERS: dict[str, tuple[Finder, str]] = {}  # by kind, with what it is and does


@dataclass(frozen=True)
class Problem:
    """One kind of problem: a key of :data:`FINDERS`, what it means, and a line for each found."""

    kind: str
    meaning: str
    found: list[str]


def finder(kind: str, meaning: str) -> Callable[[Finder], Finder]:
    """Enter a function into :data:`FINDERS`."""

    def entered(function: Finder) -> Finder:
        FINDERS[kind] = function, meaning
        return function

    return entered


def find_problems(parts: Parts, facts: Facts, min_size: int = MIN_SIZE) -> list[Problem]:
    """Run all finders; return what was found, the worst first.

    Args:
        parts: of data sets that are used together.
        facts: of each of their files.
        min_size: pixels below which an image is called tiny.
    """
    found = (
        Problem(k, meaning, [*f(parts, facts, min_size)]) for k, (f, meaning) in FINDERS.items()
    )
    return [problem for problem in found if problem.found]


def _by_content(parts: Iterable[Part], facts: Facts) -> list[list[tuple[Part, Entry]]]:
    """Groups of entries whose files have the same content, or are the same."""
    groups = defaultdict(list)
    for part in parts:
        for entry in part.entries:
            if not facts[entry.path].fault:
                groups[facts[entry.path].digest].append((part, entry))
    return [group for group in groups.values() if len(group) > 1]


def _names(entries: Iterable[Entry]) -> str:
    return " = ".join(dict.fromkeys(entry.path for entry in entries))


def _paths(parts: Parts) -> Iterable[str]:
    return dict.fromkeys(entry.path for part in parts for entry in part.entries)


@finder("unreadable", "files that cannot be read: a run would stop at them")
def _unreadable(parts: Parts, facts: Facts, min_size: int) -> Iterator[str]:
    yield from (f"{path}: {facts[path].fault}" for path in _paths(parts) if facts[path].fault)


@finder("leak", "test images that are among the training images: metrics are too good")
def _leaked(parts: Parts, facts: Facts, min_size: int) -> Iterator[str]:
    for group in _by_content(parts, facts):
        if len({part.is_test for part, _ in group}) == 2:
            yield _names(entry for _, entry in group)


@finder("contradiction", "identical files under different identities: wrong labels")
def _contradictory(parts: Parts, facts: Facts, min_size: int) -> Iterator[str]:
    for group in _by_content(parts, facts):
        by_set: dict[str, dict[str, Entry]] = defaultdict(dict)
        for part, entry in group:
            by_set[part.dataset].setdefault(entry.identity, entry)
        for owners in by_set.values():
            if len(owners) > 1:
                yield f"{_names(owners.values())} ({', '.join(sorted(owners))})"


@finder("shared identity", "identities in training and testing: metrics say little about new ones")
def _shared_identities(parts: Parts, facts: Facts, min_size: int) -> Iterator[str]:
    train, test = (
        {e.identity for part in parts if part.is_test == tested for e in part.entries if not e.junk}
        for tested in (False, True)
    )
    yield from sorted(train & test)


@finder("no evaluation", "test sets without queries or gallery: they cannot be evaluated")
def _one_sided(parts: Parts, facts: Facts, min_size: int) -> Iterator[str]:
    sizes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for part in parts:
        if part.is_test:
            sizes[part.dataset][part.split] += len(part.entries)
    for name, found in sizes.items():
        if not found[QUERY] or not found[GALLERY]:
            yield f"{name}: {found[QUERY]} query and {found[GALLERY]} gallery images"


@finder("unmatched query", "queries without a match from another camera: left out of the metrics")
def _unmatched(parts: Parts, facts: Facts, min_size: int) -> Iterator[str]:
    for part in parts:
        gallery = [
            (entry.identity, entry.camera)
            for other in parts
            for entry in other.entries
            if (other.dataset, other.split) == (part.dataset, GALLERY)
        ]
        if part.split == QUERY:
            queries = [(entry.identity, entry.camera) for entry in part.entries]
            for index in unmatched_queries(queries, gallery):
                yield f"{part.entries[index].path} ({part.entries[index].identity})"


@finder("query in gallery", "queries that find their own copy: metrics are too good")
def _trivial(parts: Parts, facts: Facts, min_size: int) -> Iterator[str]:
    for group in _by_content([part for part in parts if part.is_test], facts):
        for part, query in group:
            hits = [
                match
                for other, match in group
                if (other.dataset, other.split) == (part.dataset, GALLERY)
                and match.identity == query.identity
                and counts(query.camera, match.camera)
            ]
            if part.split == QUERY and hits:
                yield _names([query, *hits])


@finder("duplicate", "identical files within a split")
def _duplicates(parts: Parts, facts: Facts, min_size: int) -> Iterator[str]:
    for group in (group for part in parts for group in _by_content([part], facts)):
        yield _names(entry for _, entry in group)


@finder("single image", "identities with one training image: no positive pair for a triplet")
def _lonely(parts: Parts, facts: Facts, min_size: int) -> Iterator[str]:
    for part in parts:
        counts = Counter(entry.identity for entry in part.entries)
        for entry in part.entries:
            if part.split == TRAIN and counts[entry.identity] == 1:
                yield f"{entry.identity}: {entry.path}"


@finder("tiny", "images that are smaller than --min-size")
def _tiny(parts: Parts, facts: Facts, min_size: int) -> Iterator[str]:
    for path in _paths(parts):
        fact = facts[path]
        if not fact.fault and min(fact.width, fact.height) < min_size:
            yield f"{path}: {fact.width}x{fact.height}"
