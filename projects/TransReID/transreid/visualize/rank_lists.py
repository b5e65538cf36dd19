#!/usr/bin/env python3
"""See what a model looks at, whom it finds, what its cameras are to it, and how it was trained.

python tools/visualize.py attention --config-file CONFIG.yml --weights MODEL.pth *.jpg -o out.png
python tools/visualize.py rank results.npz -o ranks.png
python tools/visualize.py sie --config-file CONFIG.yml --weights MODEL.pth -o sie.png
python tools/visualize.py curves logs/run1 logs/run2 -o curves.png

Pictures are PNG, PDF or SVG, by the suffix of their name. No data set is needed.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from reid_common import pictures
from reid_common.errors import UserError
from reid_common.image_files import check_images
from reid_core.run.command_line import show_user_errors
from tqdm import tqdm
from transreid import FeatureExtractor
from transreid.inference.feature_files import Ranking, read_ranking
from transreid.inference.image_inputs import to_rgb
from transreid.visualize import model_pictures
from transreid.visualize.attention import attention_maps, to_pixels

MAX_IMAGES = 40  # rows of one picture
# What an extractor may be built with to save work, but what hides the attention.
SHOW_ALL = ["MODEL.COMPILE", "False", "MODEL.JPM.GLOBAL_ONLY", "False"]


def attention(args: argparse.Namespace) -> None:
    """Draw attention maps of images."""
    if len(args.images) > MAX_IMAGES:
        raise UserError(
            f"{len(args.images)} images are too many for a picture; give at most {MAX_IMAGES}"
        )
    check_images(args.images)
    extractor = _extractor(args, [*args.opts, *SHOW_ALL])
    rows = []
    for start in tqdm(range(0, len(args.images), args.batch_size), unit="batch", disable=None):
        files = args.images[start : start + args.batch_size]
        rows += _attention_rows(extractor, files, args.camera, args.view)
    model_pictures.draw_attention(rows, args.out, args.title or "Attention of [cls]")


def _attention_rows(
    extractor: FeatureExtractor, files: list[str], camid: int | None, viewid: int | None
) -> Iterator[model_pictures.AttentionRow]:
    """Rows of one batch; ``camid`` and ``viewid`` are 0-based, None = unknown, for all of it."""
    images = torch.stack([extractor.transform(to_rgb(file)) for file in files])
    camids, viewids = extractor.checked_ids(camid, viewid, len(files))
    batch = {"images": images, "camids": camids, "viewids": viewids}
    maps = attention_maps(extractor.model, batch)
    backbone, head = extractor.model.backbone, extractor.model.heads
    embed, prefix = backbone.patch_embed, backbone.num_prefix_tokens
    tokens = prefix + embed.num_patches
    named = {"rollout": maps.rollout * tokens, "last block": maps.last * tokens}
    if maps.parts is not None:
        tokens = prefix + embed.num_patches // head.num_parts
        named |= {f"part {j + 1}": part * tokens for j, part in enumerate(maps.parts.unbind(1))}
    drawn = {name: to_pixels(values, embed).cpu().numpy() for name, values in named.items()}
    shown = images.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()
    for i, file in enumerate(files):
        heats = {name: values[i] for name, values in drawn.items()}
        yield model_pictures.AttentionRow(Path(file).stem, shown[i], heats)


def rank(args: argparse.Namespace) -> None:
    """Draw rank lists of a results file of tools/search.py."""
    ranking = read_ranking(args.results)
    count = len(ranking.query_paths)
    queries = args.queries
    if queries is None:
        queries = spread(count, args.rows)
    wrong = [query for query in queries if not 0 <= query < count]
    if wrong:
        raise UserError(f"--queries {wrong[0]}: {args.results} has queries 0..{count - 1}")
    draw_ranking(ranking, args.out, queries, args.top, args.title)


def draw_ranking(
    ranking: Ranking, out: Path, queries: Sequence[int], top: int, title: str | None = None
) -> None:
    """Draw the rows of ``queries`` (0-based), ``top`` neighbours each; tools/search.py does, too.

    Raises:
        UserError: an image is missing or cannot be read, ``out`` cannot be written.
    """
    top = min(top, ranking.indices.shape[1])
    rows = [_rank_row(ranking, int(query), top) for query in queries]
    title = title or f"{len(ranking.query_paths)} queries, top {top}"
    pictures.draw_rank_rows(rows, out, title, top)


def spread(count: int, rows: int) -> list[int]:
    """Choose ``rows`` of ``count`` queries, evenly spread; all if there are fewer."""
    return sorted({int(q) for q in np.linspace(0, count - 1, min(rows, count)).round()})


def _rank_row(ranking: Ranking, query: int, top: int) -> pictures.RankRow:
    neighbours: list[tuple[str, str, bool | None]] = []
    pid = _id(ranking.query_pids, query)
    scores = ranking.similarities[query, :top]
    for index, score in zip(ranking.indices[query, :top], scores, strict=True):
        if index < 0:
            continue
        path = ranking.gallery_paths[index]
        found = _id(ranking.gallery_pids, index)
        right = None if pid is None or found is None else found == pid
        caption = _caption(path, found, _id(ranking.gallery_camids, index))
        neighbours.append((path, f"{caption}\n{score:.3f}", right))
    path = ranking.query_paths[query]
    caption = _caption(path, pid, _id(ranking.query_camids, query))
    return pictures.RankRow(path, f"query {query}\n{caption}", neighbours)


def _id(ids: np.ndarray | None, index: int) -> int | None:
    """An identity or camera, None where it is not known."""
    return None if ids is None or ids[index] < 0 else int(ids[index])


def _caption(path: str, pid: int | None, camid: int | None) -> str:
    name = Path(path).stem[-14:] if pid is None else f"id {pid}"
    return name if camid is None else f"{name}, c{camid + 1}"


def sie(args: argparse.Namespace) -> None:
    """Draw the SIE table of a model, and print its norms."""
    model = _extractor(args, args.opts).model
    table = getattr(getattr(model, "backbone", None), "sie", None)
    title = args.title or "Cosines of the side information embeddings"
    model_pictures.draw_sie(table, args.out, title)
    print(model_pictures.sie_statistics(table))


def curves(args: argparse.Namespace) -> None:
    """Draw loss, learning rate and scores of runs."""
    short = [str(run.name or run) for run in args.runs]
    names = short if len(set(short)) == len(short) else [str(run) for run in args.runs]
    runs = dict(zip(names, args.runs, strict=True))
    pictures.draw_curves(runs, args.out, args.title or "Training")


def _extractor(args: argparse.Namespace, options: list[str]) -> FeatureExtractor:
    return FeatureExtractor(
        args.config_file,
        args.weights,
        device=args.device,
        batch_size=args.batch_size,
        options=options,
    )


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``function`` is the subcommand's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    made = {}
    for function in (attention, rank, sie, curves):
        made[function] = commands.add_parser(function.__name__, help=function.__doc__)
        made[function].set_defaults(function=function)
        made[function].add_argument("-o", "--out", type=Path, required=True, help="picture")
        made[function].add_argument("--title", help="text on top")
    for function in (attention, sie):
        made[function].add_argument("--config-file", required=True, help="YAML of the model")
        made[function].add_argument("--weights", help="checkpoint; default: MODEL.WEIGHTS")
        made[function].add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
        made[function].add_argument("--batch-size", type=int, default=16)
        made[function].add_argument(
            "--opts", nargs="*", default=[], metavar="KEY VALUE", help="pairs for the config"
        )
    made[attention].add_argument("images", nargs="+", help="image files")
    made[attention].add_argument(
        "--camera", type=int, help="of the images, 0-based; unknown if not"
    )
    made[attention].add_argument("--view", type=int, help="of the images, 0-based; unknown if not")
    made[rank].add_argument("results", type=Path, help=".npz of tools/search.py")
    made[rank].add_argument("--queries", type=int, nargs="+", help="their numbers, 0-based")
    made[rank].add_argument("--rows", type=_positive, default=8, help="or so many, spread evenly")
    made[rank].add_argument("--top", type=_positive, default=10, help="neighbours of each")
    made[curves].add_argument("runs", type=Path, nargs="+", help="OUTPUT_DIR or metrics.json")
    return parser.parse_args(words)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


@show_user_errors
def main(words: list[str] | None = None) -> None:
    """Run one subcommand."""
    args = parse(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    pictures.check_picture_name(args.out)
    args.function(args)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
