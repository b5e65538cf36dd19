"""What `transreid search --tracklets` does: tracks instead of images, by their mean features."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from reid_common.errors import UserError
from reid_common.files import replacing
from reid_core.data.tracklets import Seen, read_tracklets
from transreid.inference.feature_files import FeatureSet, Ranking
from transreid.inference.tracks import (
    CAMERAS,
    Gates,
    apart,
    join_tracks,
    mean_tracks,
    rank_tracks,
)
from transreid.visualize.rank_lists import table

OPTION = "--tracklets"


def add_track_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what makes a search one of tracks."""
    add = parser.add_argument
    names = "CSV: image, tracklet, camera, time; compare tracks by their mean features"
    add(OPTION, metavar="CSV", help=names)
    gap = "with --tracklets: greatest time between two tracks, in the unit of the CSV (any)"
    add("--max-gap", type=float, metavar="TIME", help=gap)
    cameras = "with --tracklets: only tracks of the same camera, or of another one (any)"
    add("--cameras", choices=CAMERAS, default="any", help=cameras)
    join = "with --tracklets: tracks of this cosine or more become one person, in persons.csv"
    add("--join", type=float, metavar="COSINE", help=join)


def search_tracks(
    args: argparse.Namespace, query: FeatureSet, gallery: FeatureSet
) -> tuple[Ranking, str]:
    """Rank tracks, write tracks.csv and with --join persons.csv, and print the first rows.

    Returns:
        The ranking, whose paths are those of one image a track, and what was compared, in words.

    Raises:
        UserError: a table that does not fit, gates that it cannot decide, no pair that may match.
    """
    gates = Gates(args.max_gap, args.cameras)
    sides = []
    for features in (query, gallery):
        tracklets = read_tracklets(args.tracklets, features.paths, OPTION)
        gates.check(tracklets.seen, args.tracklets)
        sides.append((mean_tracks(features, tracklets), tracklets.seen))
    (searching, ours), (searched, theirs) = sides
    names = [np.array([track.name for track in side]) for side in (ours, theirs)]
    own = names[0][:, None] == names[1]
    allowed = gates.pairs(ours, theirs) & ~own
    if args.keep_self:
        allowed |= own
    if not allowed.any():
        raise UserError(
            f"{OPTION} {args.tracklets!r}: no two of the {len(ours)} and {len(theirs)} tracks "
            "may be one person; give a greater --max-gap, or other --cameras"
        )
    ranking = rank_tracks(searching, searched, allowed, args.top)
    _write(args.out / "tracks.csv", _rows(ranking, ours, theirs))
    print(table(replace(ranking, query_paths=[*names[0]], gallery_paths=[*names[1]])))
    if args.join is not None:
        if query.paths != gallery.paths:
            raise UserError("--join: give the same features as query and gallery")
        persons = join_tracks(searching, allowed, apart(ours, theirs), args.join)
        rows = zip(names[0].tolist(), persons.tolist(), strict=True)
        _write(args.out / "persons.csv", [("tracklet", "person"), *rows])
        print(f"{len(ours)} tracks are {int(persons.max()) + 1} persons: {args.out}/persons.csv")
    return ranking, f"{len(ours)} tracks against {len(theirs)}"


def _rows(ranking: Ranking, ours: list[Seen], theirs: list[Seen]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [("tracklet", "rank", "found", "similarity", "camera", "time")]
    for row, track in enumerate(ours):
        pairs = zip(ranking.indices[row].tolist(), ranking.similarities[row].tolist(), strict=True)
        for rank, (index, similarity) in enumerate(pairs, start=1):
            if index >= 0:
                found = theirs[index]
                time = f"{found.first:g}" if found.timed else ""
                rows.append((track.name, rank, found.name, f"{similarity:.6f}", found.camera, time))
    return rows


def _write(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file).writerows(rows)
