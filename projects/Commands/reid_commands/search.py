"""Find the nearest images: each query against a gallery, by cosine similarity.

transreid search query.npz gallery.npz -o results
transreid search someone.jpg photos/ -o results \\
    --config-file logs/run/config.yaml --weights logs/run/model_final.pth

transreid search crops.npz crops.npz -o results --tracklets tracks.csv --max-gap 900 --join 0.7

QUERY and GALLERY are feature files of transreid extract, or an image, folder or list, which is
extracted first, into the results folder, where the next search finds the gallery again. Writes
ranking.npz and ranks.png, and prints the first rows. With --tracklets the tracks of a tracker are
compared by their mean features, and tracks.csv names them.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

import numpy as np
from reid_common.column_files.files import SUFFIXES
from reid_common.errors import UserError
from reid_core.run.command_line import command_parser
from reid_core.run.reports import evenly_spread
from tqdm import tqdm
from transreid.inference.feature_files import FeatureSet, read_features, write_ranking
from transreid.inference.image_lists import list_images
from transreid.inference.search import rank_gallery
from transreid.visualize.rank_lists import draw_ranking, table

from .arguments import BACKENDS_LOG, add_extraction_arguments, build_extractor
from .command import command
from .extract import extract
from .search_tracks import add_track_arguments, search_tracks


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("query", help="features.npz or .parquet; image, folder or list")
    add("gallery", help="likewise")
    add("-o", "--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    add("--top", type=int, default=10, metavar="K", help="number of neighbours (10)")
    add("--rows", type=int, default=8, metavar="N", help="queries in the picture; 0: none (8)")
    add("--keep-self", action="store_true", help="also find the query's own file")
    add_track_arguments(lines)
    add_extraction_arguments(lines)
    return lines


def is_feature_file(source: str) -> bool:
    """Whether a command-line argument names features rather than images."""
    return Path(source).suffix in SUFFIXES


def load_sides(args: argparse.Namespace) -> tuple[FeatureSet, FeatureSet]:
    """Query and gallery: read, or extracted with one model into the results folder."""
    sides = {"query": args.query, "gallery": args.gallery}
    items = {}
    for name, source in sides.items():  # before anything takes time
        if not is_feature_file(source):
            items[name] = list_images(source)
        elif not Path(source).is_file():
            raise UserError(f"there is no feature file {source!r}; run transreid extract")
    features, extractor = [], None
    for name, source in sides.items():
        path = Path(source)
        if name in items:
            extractor = extractor or build_extractor(args)
            path = Path(args.out) / f"{name}.npz"
            # The next search in this folder has another query, and most often the same gallery.
            overwrite = args.overwrite or name == "query"
            extract(extractor, items[name], path, args, overwrite)
        features.append(read_features(path))
    return features[0], features[1]


@command(parser, resumes=True, logged=BACKENDS_LOG)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    if args.top < 1 or args.rows < 0:
        raise UserError(f"--top is {args.top}, --rows {args.rows}; give at least 1 and 0")
    query, gallery = load_sides(args)
    if args.tracklets:
        ranking, of_what = search_tracks(args, query, gallery)
    else:
        progress = functools.partial(tqdm, desc="search", unit="block")
        ranking = rank_gallery(query, gallery, args.top, args.keep_self, progress)
        if not (ranking.indices >= 0).any():
            raise UserError(
                f"no query has a neighbour: the gallery {args.gallery!r} holds nothing but the "
                "queries' own files; name another gallery, or add --keep-self"
            )
        print(table(ranking))
        of_what = f"{len(query)} queries, {len(gallery)} gallery images"
    write_ranking(args.out / "ranking.npz", ranking)
    found = int(np.count_nonzero(ranking.indices >= 0))
    print(f"{of_what}, {found} neighbours: {args.out}/")
    if args.rows:
        try:
            shown = evenly_spread(len(ranking.query_paths), args.rows)
            draw_ranking(ranking, args.out / "ranks.png", shown, args.top)
        except UserError as error:  # the search is no failure where the images are gone
            print(f"no picture: {error}", file=sys.stderr)
