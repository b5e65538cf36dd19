#!/usr/bin/env python3
"""Find the nearest images: each query against a gallery, by cosine similarity.

python tools/search.py query.npz gallery.npz -o results
python tools/search.py someone.jpg photos/ -o results \
    --config-file logs/run/config.yaml --weights logs/run/model_final.pth

QUERY and GALLERY are feature files of tools/extract_features.py, or an image, folder or list, which
is extracted first, into the results folder, where the next search finds the gallery again. Writes
ranking.npz (see transreid/features/feature_files.py) and ranks.png, and prints the first rows.
"""

from __future__ import annotations

import argparse
import functools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from reid_common.column_files.files import SUFFIXES
from reid_common.errors import UserError
from reid_core.run.command_line import show_user_errors
from tabulate import tabulate
from tqdm import tqdm
from transreid.inference.feature_files import FeatureSet, Ranking, read_features, write_ranking
from transreid.inference.image_lists import list_images
from transreid.inference.search import rank_gallery

from . import extract as extract_features
from . import visualize

PRINTED = 5  # queries, and neighbours of each


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
            raise UserError(f"there is no feature file {source!r}; run tools/extract_features.py")
    features, extractor = [], None
    for name, source in sides.items():
        path = Path(source)
        if name in items:
            extractor = extractor or extract_features.build_extractor(args)
            path = Path(args.out) / f"{name}.npz"
            # The next search in this folder has another query, and most often the same gallery.
            overwrite = args.overwrite or name == "query"
            extract_features.extract(extractor, items[name], path, args, overwrite)
        features.append(read_features(path))
    return features[0], features[1]


def table(ranking: Ranking) -> str:
    """The first rows of a ranking as text."""
    rows = []
    for query, path in enumerate(ranking.query_paths[:PRINTED]):
        neighbours = zip(ranking.indices[query], ranking.similarities[query], strict=True)
        for rank, (index, similarity) in enumerate(list(neighbours)[:PRINTED], start=1):
            if index >= 0:
                shown = path if rank == 1 else ""
                rows.append([shown, rank, ranking.gallery_paths[index], f"{similarity:.6f}"])
    return tabulate(rows, headers=["query", "rank", "gallery image", "similarity"], floatfmt=".6f")


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("query", help="features.npz or .parquet; image, folder or list")
    parser.add_argument("gallery", help="likewise")
    parser.add_argument("-o", "--out", required=True, help="folder for the results")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="neighbours (10)")
    parser.add_argument("--rows", type=int, default=8, help="queries in the picture (8); 0: none")
    parser.add_argument("--keep-self", action="store_true", help="find a query's own file, too")
    extract_features.add_extraction_arguments(parser)
    args = parser.parse_intermixed_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if args.top < 1 or args.rows < 0:
        raise UserError(f"--top is {args.top}, --rows {args.rows}; give at least 1 and 0")
    query, gallery = load_sides(args)
    progress = functools.partial(tqdm, desc="search", unit="block")
    ranking = rank_gallery(query, gallery, args.top, args.keep_self, progress)
    out = Path(args.out)
    write_ranking(out / "ranking.npz", ranking)
    print(table(ranking))
    found = int(np.count_nonzero(ranking.indices >= 0))
    print(f"{len(query)} queries, {len(gallery)} gallery images, {found} neighbours: {out}/")
    if args.rows:
        draw(ranking, out / "ranks.png", args.rows, args.top)
    return 0


def draw(ranking: Ranking, out: Path, rows: int, top: int) -> None:
    """Draw some rows; the search is no failure where the images have gone."""
    try:
        queries = visualize.spread(len(ranking.query_paths), rows)
        visualize.draw_ranking(ranking, out, queries, top)
    except UserError as error:
        print(f"no picture: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
