"""Studies that pre-train, then fine-tune: each method's pre-training runs once for all its arms.

KEY VALUE pairs change every training, PRETRAIN.KEY VALUE pairs the pre-trainings alone.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from cfs.pipeline.stages.training import started_from
from dinopretrain.methods import backbone_file
from fastreid.config import CfgNode
from reid_common.files import read_json, was_begun, write_json
from reid_core.config import find_config, load_config
from reid_core.data.thinning import with_identities
from reid_core.run.command_line import forget_loggers, positive
from transreid import training

from .finished_run import check_begun, check_same_settings, settings_text
from .runner import Arm, check_once, dataset_options, file_name, pairs_of_stage

DONE = "pretraining.json"
CONFIGS = "projects/DINOPretrain/configs"
TOY = f"{CONFIGS}/ToyUnlabeled"
METHODS = {  # MODEL.META_ARCHITECTURE -> config of its pre-training
    "DINO": f"{TOY}/vit_tiny.yml",
    "IBOT": f"{TOY}/ibot_vit_tiny.yml",
    "MoCoV2": f"{TOY}/moco_v2_vit_tiny.yml",
    "MoCoV3": f"{TOY}/moco_v3_vit_tiny.yml",
    "MoBY": f"{TOY}/moby_vit_tiny.yml",
}
FINE_TUNING = f"{CONFIGS}/ToyReID/vit_tiny.yml"
POOL, DATASET = "ToyUnlabeled", "ToyReID"
SCRATCH = "from scratch"
FOLDERS = {"DINO": ("pretrain", "dino")}  # of the pre-training and of the fine-tuning
OWN = "PRETRAIN."


def add_arguments(lines: argparse.ArgumentParser) -> None:
    """Add what is pre-trained on, and how many identities are fine-tuned on."""
    add = lines.add_argument
    add("--pool", default=POOL, metavar="NAME", help=f"pre-train on it ({POOL})")
    numbers = "fine-tune on so many identities each, for as many iterations as on the most (all)"
    add("--identities", type=positive, nargs="+", metavar="N", help=numbers)


def arms(args: argparse.Namespace, titles: Mapping[str, str]) -> Iterator[Arm]:
    """From scratch and from each method, for each number of identities.

    Epochs are those of the most identities; of fewer there are more, for as many iterations.

    Args:
        args: of the study.
        titles: method -> its rows of the table.

    Raises:
        UserError: a wrong key or value of a pre-training, or a number of identities named twice,
            before anything runs.
    """
    check_once("--identities", args.identities or ())
    shared, own = pairs_of_stage(args.opts, OWN)
    for method in titles:
        load_config(find_config(METHODS[method]), [*shared, *own])
    fine_tuning = load_config(find_config(FINE_TUNING), shared)
    for count in args.identities or [None]:
        train = args.dataset
        title, folder, length = "", "", []
        if count is not None:
            train = with_identities(args.dataset or DATASET, count)
            title, folder = f", {count} identities", f"_{count}"
            length = epochs_of(fine_tuning, max(args.identities) / count)
        options = [*dataset_options(train, args.dataset or DATASET), *length]
        yield Arm(SCRATCH + title, FINE_TUNING, f"scratch{folder}", options)
        for method, name in titles.items():
            first = functools.partial(pretrain, method, args.pool, args.dataset, own)
            place = placed(FOLDERS.get(method, ("", method))[1], args.pool) + folder
            yield Arm(name + title, FINE_TUNING, place, options, prepare=first)


def epochs_of(cfg: CfgNode, factor: float) -> list[str]:
    """Pairs that make a fine-tuning on a ``factor``-th of the images as many iterations long."""
    keys = {"SOLVER.MAX_EPOCH": cfg.SOLVER.MAX_EPOCH, "TEST.EVAL_PERIOD": cfg.TEST.EVAL_PERIOD}
    return [text for key, value in keys.items() for text in (key, str(round(value * factor)))]


def pretraining_folder(out: Path, method: str, pool: str, seed: int) -> Path:
    """OUTPUT_DIR of a pre-training."""
    name = FOLDERS.get(method, (f"pretrain_{method}",))[0]
    return out / placed(name, pool) / f"seed{seed}"


def placed(folder: str, pool: str) -> str:
    """Folder of what depends on the pool."""
    return folder if pool == POOL else f"{folder}_{file_name(pool)}"


def pretrain(
    method: str,
    pool: str,
    dataset: str | None,
    own: Sequence[str],
    out: Path,
    seed: int,
    opts: Sequence[str],
) -> list[str]:
    """Pre-train, unless an earlier call has; resumes what was interrupted.

    Args:
        method: of :data:`METHODS`.
        pool: data set.
        dataset: on which the backbone is tested meanwhile; None: that of the config.
        own: KEY VALUE pairs of the pre-training alone.
        out: folder of the study.
        seed: of the run.
        opts: KEY VALUE pairs of all trainings.

    Returns:
        The pairs that start a training from the backbone it has made.

    Raises:
        UserError: the folder holds a pre-training of other settings.
    """
    folder = pretraining_folder(out, method, pool, seed)
    sets = [] if pool == POOL else ["DATASETS.NAMES", repr((pool,))]
    sets += [] if dataset is None else ["DATASETS.TESTS", repr((dataset,))]
    pairs = ["SEED", str(seed), *sets, *opts, *own, "OUTPUT_DIR", str(folder)]
    config = find_config(METHODS[method])
    cfg = load_config(config, pairs)
    if (folder / DONE).exists():
        settings = read_json(folder / DONE).get("settings")  # older records have none
        if settings is not None:
            check_same_settings(yaml.safe_load(settings), cfg, folder)
    else:
        forget_loggers()
        check_begun(folder, cfg)
        resumed = was_begun(folder)
        start = time.perf_counter()
        training.train_or_evaluate(training.arguments(config, pairs, resume=True))
        seconds = None if resumed else round(time.perf_counter() - start)
        write_json(folder / DONE, {"seconds": seconds, "settings": settings_text(cfg)})
    return started_from(folder / backbone_file(cfg))


def times(args: argparse.Namespace, method: str) -> str:
    """Minutes of each pre-training of a method that was not interrupted, as text; "" if none."""
    folders = [pretraining_folder(args.out, method, args.pool, seed) for seed in args.seeds]
    seconds = [read_json(folder / DONE)["seconds"] for folder in folders]
    return ", ".join(f"{s / 60:.1f}" for s in seconds if s is not None)


def synthetic(args: argparse.Namespace) -> list[str]:
    """Which of the data sets are drawings."""
    return [name for name in (args.pool, args.dataset or DATASET) if name in (POOL, DATASET)]
