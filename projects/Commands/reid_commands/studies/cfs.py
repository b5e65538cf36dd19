"""Does CFS choose the images that help? A study of several seeds, all arms.

python tools/cfs_study.py --seeds 1 2 3 --domain
python tools/cfs_study.py --pool datasets/PhotoPool --dataset Market1501:identities=150

For each seed runs the pipeline of tools/conditional_pretrain.py, pre-trains on all images, on a
random half and on the worst half as well, fine-tunes from each and from scratch with the same
config, and compares the scores with the pool's hidden truth. --domain adds what a perfect score
would choose. The pool is the synthetic ToyUnlabeled or a folder of tools/photo_pool.py; the target,
and what is fine-tuned, is ToyReID or --dataset. Finished steps are skipped: kill it at any time,
the same command resumes.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cfs.images.keys import key_list
from cfs.images.listing import open_listing
from cfs.pipeline import run as pipeline_run
from cfs.pipeline.config import PAIRS, default_config, load_config, stage_options
from cfs.pipeline.process import Interrupted
from cfs.pipeline.records import read_record
from cfs.pipeline.stages.selection import SCORES
from cfs.pipeline.stages.stage import Stage, read_config
from cfs.scores.lists import write_list
from cfs.scores.reading import read_scores
from dinopretrain.data.images import UnlabelledImages
from dinopretrain.data.path_list import PathList
from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_common.files import read_json, write_json
from reid_core.config import find_config
from reid_core.run.command_line import RESUMES, parse_command, show_user_errors

from . import cfs_truth
from .cfs_arms import check_study, study_stages, write_selections
from .runner import complete, dataset_options, study_parser, summary

CONFIG = "projects/CFS/configs/Toy.yml"
NAMES, POOL_STAGES = "DATASETS.NAMES", ("SOURCE", "PRETRAIN")
RESULTS = "study.json"
FOLDER = Path("logs/cfs_study")


@dataclass
class Seed:
    """The study of one seed: its pipeline, and the stages beyond it."""

    config: str
    options: list[str]
    domain: bool
    cfg: CfgNode
    stages: list[Stage]
    pool: Path | None = None


def prepare(
    config: str, options: list[str], domain: bool = False, pool: Path | None = None
) -> Seed:
    """Check what can be checked before anything of a study runs.

    Args:
        config: of the pipeline.
        options: KEY VALUE pairs of the pipeline, SEED and OUTPUT_DIR among them.
        domain: also pre-train on the images of the target's domain alone.
        pool: folder of the pool; None: ToyUnlabeled.

    Raises:
        UserError: a config is wrong, or earlier calls have made what this one cannot resume.
    """
    cfg = load_config(find_config(config), options)
    stages = study_stages(cfg, domain)
    check_study(cfg, stages)
    return Seed(config, options, domain, cfg, stages, pool)


def open_pool(cfg: CfgNode, folder: Path | None = None) -> UnlabelledImages:
    """The images on which a pipeline pre-trains, of a pool's folder or, None, ToyUnlabeled.

    Raises:
        UserError: they are others than those whose truth is known.
    """
    pool = read_config(cfg.PRETRAIN.CONFIG, stage_options(cfg, "pretrain"), "pretrain")
    names = [*pool.DATASETS.NAMES]
    needed = cfs_truth.pool_name(folder)
    if len(names) != 1 or names[0].partition("?")[0].removesuffix(":") != needed:
        raise UserError(
            f"stage pretrain has DATASETS.NAMES {names}; the study needs {needed}, "
            "whose images are known to be of the target's domain or not"
        )
    return open_listing(pool, names)


def run_seed(seed: Seed) -> dict[str, Any]:
    """All arms of one seed; returns the results, which are also in OUTPUT_DIR/study.json."""
    folder, cfg = pipeline_run.run_pipeline(seed.config, seed.options), seed.cfg
    selected = read_record(folder, "select")
    assert selected is not None
    write_selections(folder, selected.sizes["kept"], cfg.SEED, seed.domain, seed.pool)
    metrics: list[dict[str, Any]] = []
    for stage in seed.stages:
        pipeline_run.run_stage(folder, stage)
        if stage.parts:
            metrics += read_json(folder / stage.outputs["results"])
    scores = read_scores(str(folder / SCORES))
    images, cache = open_pool(cfg, seed.pool), folder / "filter_cache"
    results = {
        "seed": cfg.SEED,
        "figures": {row["title"]: {k: row[k] for k in ("mAP", "Rank-1")} for row in metrics},
        "separation": cfs_truth.separation(scores, images, cache, seed.pool),
    }
    write_json(folder / RESULTS, results)
    pipeline_run.write_report(folder)  # once more, with all arms
    return results


def small_pool(
    folder: Path, names: Sequence[str], count: int, pool: Path | None = None
) -> list[str]:
    """Options that make the first images of the pool, a mixture of all kinds, the source.

    Args:
        folder: of a seed.
        names: all images of the pool.
        count: how many are used.
        pool: folder of the pool; None: ToyUnlabeled.

    Raises:
        UserError: there are not so many.
    """
    name = cfs_truth.pool_name(pool)
    if not 0 < count <= len(names):
        raise UserError(f"--images is {count}; {name} has {len(names):,}, so write 1 to that")
    file = folder / f"first{count}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_list(file, PathList.from_iterable(names[:count]), np.zeros(count))
    return of_stages(POOL_STAGES, [NAMES, repr((f"{name}{'' if pool else ':'}?list={file}",))])


def of_stages(stages: Sequence[str], pairs: Sequence[str]) -> list[str]:
    """KEY VALUE pairs for each of some stages of the pipeline."""
    return [f"{s}.{word}" if i % 2 == 0 else word for s in stages for i, word in enumerate(pairs)]


def photographs(args: argparse.Namespace) -> list[str]:
    """Options that make the pool and the data set of a command line those of the pipeline."""
    found = [] if args.pool is None else [NAMES, repr((cfs_truth.pool_name(args.pool),))]
    pairs = of_stages(POOL_STAGES, found)
    if args.dataset is not None:
        pairs += of_stages(POOL_STAGES, ["DATASETS.TESTS", repr((args.dataset,))])
        pairs += of_stages(("TARGET", "FINETUNE"), dataset_options(args.dataset))
    return pairs


def report(out: Path, seeds: Sequence[dict[str, Any]]) -> str:
    """The tables of this call's seeds; also in out/study.md and out/study.json."""
    metrics = {row: [seed["figures"][row] for seed in seeds] for row in seeds[0]["figures"]}
    separation = cfs_truth.separation_table([seed["separation"] for seed in seeds])
    names = ", ".join(str(seed["seed"]) for seed in seeds)
    text = f"Seeds: {names}\n\n{summary(metrics)}\n\n{separation}"
    (out / "study.md").write_text(text + "\n")
    write_json(out / RESULTS, list(seeds))
    return text


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = study_parser(__doc__, (1, 2, 3), FOLDER, CONFIG, PAIRS)
    cfs_truth.add_pool(lines)
    add = lines.add_argument
    add("--images", type=int, metavar="N", help="use the first N images of the pool (all)")
    add("--domain", action="store_true", help="also pre-train on the target's domain alone")
    return lines


def prepare_all(args: argparse.Namespace) -> list[Seed]:
    """All seeds of a command line, checked."""
    complete(args, FOLDER)
    opts = [*photographs(args), *args.opts]
    cfg = load_config(find_config(args.config_file), [*opts, "OUTPUT_DIR", "."])
    names = sorted(key_list(open_pool(cfg, args.pool)))
    cfs_truth.kinds_of(names, args.pool)  # before hours of training
    prepared = []
    for seed in args.seeds:
        folder = args.out / f"seed{seed}"
        options = [*opts, "SEED", str(seed), "OUTPUT_DIR", str(folder)]
        if args.images is not None:
            options += small_pool(folder, names, args.images, args.pool)
        prepared.append(prepare(args.config_file, options, args.domain, args.pool))
    return prepared


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parse_command(parser(), argv, default_config())
    results: list[dict[str, Any]] = []
    try:
        for seed in prepare_all(args):
            results.append(run_seed(seed))
            print(f"\n{report(args.out, results)}\n", flush=True)
    except (Interrupted, KeyboardInterrupt) as interruption:
        print(RESUMES, file=sys.stderr)
        return 128 + getattr(interruption, "signum", signal.SIGINT)
    synthetic = "" if args.pool and args.dataset else "ToyUnlabeled and ToyReID are synthetic. "
    print(f"{synthetic}Reports: {args.out}/seed*/report.html")
    return 0
