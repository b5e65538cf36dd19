"""The commands of tools/cfs_scores.py."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cfs import select
from cfs.scores import pictures as cfs_pictures
from cfs.scores.lists import check_list_name, write_list
from cfs.scores.reading import read_scores, score_files
from cfs.scores.score_files import read_meta, read_reasons
from cfs.scores.selection import check_keep
from cfs.scores.summary import Summary, summarise
from cfs.scoring.models import build_pair
from cfs.scoring.run import SHARD_SIZE, Run, rank_and_world
from cfs.scoring.scoring import score_images
from cfs.scoring.sources import open_listing
from dinopretrain.data.listing import PARQUET
from fastreid.config import CfgNode
from fastreid.data import build as data_build
from fastreid_compat.repairs.distributed.launch import share_threads
from reid_common.errors import UserError
from reid_core.run.command_line import show_user_errors
from tabulate import tabulate
from transreid.inference.trained_model import find_device

from . import train as train_net
from .extract import INTERRUPTED, add_run_arguments

NUM_FOLDERS = 10


def configs(args: argparse.Namespace) -> tuple[CfgNode, CfgNode]:
    """Config of the source model and of the target model."""
    files = (args.config_file, args.target_config_file or args.config_file)
    source, target = (
        train_net.merged_config(argparse.Namespace(config_file=file, opts=args.opts))
        for file in files
    )
    return source, target


def dataset_names(args: argparse.Namespace, cfg: CfgNode) -> list[str]:
    """What is scored: --images or --dataset, else DATASETS.NAMES of the config."""
    if args.images and args.dataset:
        raise UserError("--images and --dataset are given; leave one of them out")
    return [f"ImageFolder:{args.images}"] if args.images else args.dataset or [*cfg.DATASETS.NAMES]


def device_of(name: str) -> str:
    """The device of this process; of several with GPUs each has its own."""
    share_threads(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    device = str(find_device(name))
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" else device


def score(args: argparse.Namespace) -> int:
    """Score the images; returns the exit status."""
    source_cfg, target_cfg = configs(args)
    rank, world = rank_and_world()
    run = Run(
        batch_size=args.batch_size,
        shard_size=args.shard_size,
        num_workers=args.num_workers,
        precision=args.precision,
        device=device_of(args.device),
        rank=rank,
        world=world,
    )
    names = dataset_names(args, source_cfg)
    images = open_listing(source_cfg, names)
    source, target = build_pair(source_cfg, args.source_weights, target_cfg, args.target_weights)
    transform = data_build.build_transforms(source_cfg, is_train=False)
    try:
        shards = score_images(images, source, target, transform, args.out, run, {"dataset": names})
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    missing = len(shards.missing())
    if missing:
        print(f"{args.out}: {missing} shards are those of other processes, not there yet")
    else:
        print(f"{args.out}: complete. {headline(summary_of(str(args.out)))}")
    return 0


def summary_of(path: str) -> Summary:
    """Figures of a folder of scores, or of one of the files that hold some."""
    parquet = [file for file in score_files(path) if file.lower().endswith(PARQUET)]
    return summarise(read_scores(path), read_reasons(parquet))


def headline(summary: Summary) -> str:
    """The figures in one line."""
    bad = sum(summary.bad.values())
    return f"{summary.count:,} images, {bad:,} of them bad, mean score {summary.mean:.4f}"


def inspect(args: argparse.Namespace) -> int:
    """Print figures of scores; returns the exit status."""
    summary = summary_of(args.scores)
    print(headline(summary))
    for reason, count in summary.bad.items():
        print(f"  {count:,} bad: {reason}")
    rows = [(f"{share:.0%}", score) for share, score in summary.quantiles.items()]
    print("\n" + tabulate(rows, ("quantile", "score"), "github", floatfmt=".4f"))
    folders = summary.folders
    shown = folders
    if len(folders) > 2 * args.folders:
        shown = [*folders[: args.folders], *folders[-args.folders :]]
        print(f"\n{len(folders):,} folders, the {args.folders} highest and lowest of them:")
    table = [(name or "(none)", count, mean) for name, count, mean in shown]
    print("\n" + tabulate(table, ("folder", "images", "mean score"), "github", floatfmt=".4f"))
    return 0


def select_best(args: argparse.Namespace) -> int:
    """Write the list of the best; returns the exit status."""
    check_list_name(args.out)
    check_keep(args.keep, args.keep_num)
    scores = read_scores(args.scores)
    chosen = select(scores.names, scores.values, args.keep, args.keep_num)
    write_list(args.out, scores.names.take(chosen), scores.values[chosen])
    scored = int(np.isfinite(scores.values).sum())
    lowest = f", down to a score of {scores.values[chosen[-1]]:.4f}" if len(chosen) else ""
    print(f"{args.out}: {len(chosen):,} of {scored:,} images with a score{lowest}")
    return 0


def plot(args: argparse.Namespace) -> int:
    """Draw the pictures; returns the exit status."""
    meta, scores = read_meta(Path(args.scores)), read_scores(args.scores)
    cfg = train_net.merged_config(argparse.Namespace(config_file="", opts=[]))
    given = args.images or args.dataset
    names = dataset_names(args, cfg) if given else meta.get("dataset", [])
    images = open_listing(cfg, names)
    target = open_listing(cfg, [_target_name(args.target_images)]) if args.target_images else None
    files = cfs_pictures.draw_all(scores, images, target, args.out, args.number)
    print("\n".join(f"wrote {file}" for file in files))
    return 0


def _target_name(given: str) -> str:
    return f"ImageFolder:{given}" if os.path.exists(given) else given


def add_score(parser: argparse.ArgumentParser) -> None:
    """Arguments of score."""
    parser.add_argument("--source-weights", required=True, metavar="PTH", help="theta_s")
    parser.add_argument("--target-weights", required=True, metavar="PTH", help="theta_t")
    parser.add_argument(
        "--config-file", required=True, metavar="YAML", help="model, test transform, data set"
    )
    parser.add_argument(
        "--target-config-file",
        metavar="YAML",
        help="of theta_t, where it has another normalisation (DINO: ImageNet's, fine-tuning: 0.5)",
    )
    add_images(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of scores")
    add_run_arguments(parser, SHARD_SIZE)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of both configs")


def add_images(parser: argparse.ArgumentParser) -> None:
    """Arguments that say where the images are."""
    parser.add_argument("--dataset", nargs="+", metavar="NAME", help="as in DATASETS.NAMES")
    parser.add_argument("--images", metavar="PLACE", help="folder, list, LMDB or tar of images")


def add_select(parser: argparse.ArgumentParser) -> None:
    """Arguments of select."""
    parser.add_argument("--keep", type=float, help="share of the images with a score, 0..1")
    parser.add_argument("--keep-num", type=int, metavar="N", help="number of images")
    parser.add_argument("--out", type=Path, required=True, help=".txt, .parquet or .pkl")


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """Arguments of inspect."""
    parser.add_argument("--folders", type=int, default=NUM_FOLDERS, help="at each end (10)")


def add_plot(parser: argparse.ArgumentParser) -> None:
    """Arguments of plot."""
    add_images(parser)
    parser.add_argument("--target-images", metavar="PLACE", help="data set, folder or list")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of pictures")
    parser.add_argument("--number", type=int, default=24, help="images of a sheet (24)")


COMMANDS = {
    "score": (add_score, score, "score a data set into a folder"),
    "inspect": (add_inspect, inspect, "print count, quantiles, means of folders"),
    "plot": (add_plot, plot, "draw the histogram and contact sheets"),
    "select": (add_select, select_best, "write the list of the best images"),
}


@show_user_errors
def main(argv: Sequence[str] | None = None, description: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (add, run, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name != "score":
            command.add_argument("--scores", required=True, metavar="DIR")
        add(command)
        command.set_defaults(run=run)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("cfs").setLevel(logging.INFO)
    return args.run(args)
