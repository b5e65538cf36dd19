"""Score images: how little training on the target moved their features (CFS).

transreid score --source-weights dino/teacher_backbone.pth --target-weights ft/model_final.pth \\
    --config-file dino.yml --target-config-file finetune.yml --dataset LUPerson -o scores/
torchrun --nproc_per_node 8 tools/cfs_scores.py score ...

Kill it at any time: the same command resumes. torchrun shares the work among processes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cfs.images.listing import open_listing
from cfs.scores.summary import headline, summary_of
from cfs.scoring.models import build_pair
from cfs.scoring.options import SHARD_SIZE, ScoringOptions, rank_and_world
from cfs.scoring.scoring import score_images
from fastreid.data import build as data_build
from fastreid_compat.repairs.distributed.launch import share_threads
from reid_common.left_out import check_left_out
from reid_core.config import load_config
from reid_core.run.command_line import add_config_arguments, command_parser
from reid_core.run.devices import device_of_process

from ..arguments import (
    add_device_arguments,
    add_images,
    add_max_bad,
    add_speed_arguments,
    dataset_names,
)
from ..command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("--source-weights", required=True, metavar="PTH", help="before training on the target")
    add("--target-weights", required=True, metavar="PTH", help="after it")
    target = "config of the target weights, if they have another normalisation than the source's"
    add("--target-config-file", metavar="YAML", help=target)
    add_images(lines)
    add("-o", "--out", type=Path, required=True, metavar="DIR", help="folder of the scores")
    add_device_arguments(lines)
    add_speed_arguments(lines, SHARD_SIZE)
    add_max_bad(lines)
    add_config_arguments(lines, "config: model, test transform, data set", required=True)
    return lines


@command(parser, logged="cfs", resumes=True)
def main(args: argparse.Namespace) -> None:
    """Score the images, and print what was done."""
    files = (args.config_file, args.target_config_file or args.config_file)
    source_cfg, target_cfg = (load_config(file, args.opts) for file in files)
    share_threads(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    device = str(device_of_process(args.device))
    sizes = (args.batch_size, args.shard_size, args.num_workers, args.precision)
    run = ScoringOptions(*sizes, device, *rank_and_world())
    names = dataset_names(args, source_cfg.DATASETS.NAMES)
    images = open_listing(source_cfg, names)
    source, target = build_pair(source_cfg, args.source_weights, target_cfg, args.target_weights)
    transform = data_build.build_transforms(source_cfg, is_train=False)
    shards = score_images(images, source, target, transform, args.out, run, {"dataset": names})
    missing = len(shards.missing())
    if missing:
        print(f"{args.out}: {missing} shards of other processes are not written yet")
    else:
        summary = summary_of(str(args.out))
        print(f"{args.out}: complete. {headline(summary)}")
        remedy = "transreid scores inspect counts the reasons; --max-bad allows a greater share"
        check_left_out(summary.count, summary.bad, "images", args.max_bad, remedy)
