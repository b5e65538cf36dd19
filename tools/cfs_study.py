#!/usr/bin/env python3
"""Does CFS choose the images that help? A study on synthetic data, several seeds, all arms.

python tools/cfs_study.py --seeds 1 2 3

For each seed runs the pipeline of tools/conditional_pretrain.py, pre-trains on all images, on a
random half and on the worst half as well, fine-tunes from each and from scratch with the same
config, and compares the scores with ToyUnlabeled's hidden truth. --domain adds what a perfect score
would choose. Each step is recorded: kill it at any time, the same command goes on.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ablation
import cfs_truth
import numpy as np
import pipeline_run
import reports
from cfs.filters.names import key_list
from cfs.pipeline.config import load_config, stage_options
from cfs.pipeline.records import read_record
from cfs.scores import read_scores
from cfs.scoring.lists import write_list
from cfs.scoring.sources import open_listing
from cfs_study_arms import (
    DOMAIN,
    DOMAIN_TITLE,
    check_arms,
    titles,
    training_stages,
    write_selections,
)
from dinopretrain.data.path_list import PathList
from fastreid.config import CfgNode
from fastreid_compat.command_line import show_user_errors
from fastreid_compat.errors import UserError
from pipeline_plan import SCORES
from pipeline_process import Interrupted
from pipeline_stages import find_config, read_config

CONFIG = "projects/CFS/configs/Toy.yml"
RESULTS = "study.json"
POOL = "ToyUnlabeled"


def run_seed(
    config: str, folder: Path, options: Sequence[str], domain: bool = False
) -> dict[str, Any]:
    """All arms of one seed; returns the results, which are also in folder/study.json.

    Args:
        config: of the pipeline.
        folder: of the seed.
        options: KEY VALUE pairs of the pipeline, SEED and OUTPUT_DIR among them.
        domain: also pre-train on the images of the target's domain alone.
    """
    cfg = load_config(find_config(config), options)
    arms = training_stages(cfg, folder, domain)
    check_arms(cfg, folder, arms)
    pipeline_run.run_pipeline(config, options)
    selected = read_record(folder, "select")
    assert selected is not None
    kept = selected.sizes["kept"]
    write_selections(folder, kept, cfg.SEED, domain)
    for stage in arms:
        pipeline_run.run_stage(folder, stage)
    tables = {"study": titles(f"{kept / selected.sizes['images']:.0%}")}
    if domain:
        tables["study_domain"] = {f"finetune_{DOMAIN}": DOMAIN_TITLE}
    figures: list[dict[str, Any]] = []
    for name, models in tables.items():
        tests, how = one_test_set(cfg), {"options": cfg.EVALUATE.OPTS, "num_gpus": cfg.NUM_GPUS}
        figures += pipeline_run.run_evaluation(folder, name, models, tests, **how)
    pool = read_config(cfg.PRETRAIN.CONFIG, stage_options(cfg, "pretrain"), "pretrain")
    images = open_listing(pool, [*pool.DATASETS.NAMES])
    scores = read_scores(str(folder / SCORES))
    results = {
        "seed": cfg.SEED,
        "figures": {row["title"]: {k: row[k] for k in ("mAP", "Rank-1")} for row in figures},
        "separation": cfs_truth.separation(scores, images, folder / "filter_cache"),
    }
    reports.write_json(folder / RESULTS, results)
    pipeline_run.write_report(folder)  # once more, with all arms
    return results


def one_test_set(cfg: CfgNode) -> list[str]:
    """The one test set of a pipeline's stage finetune.

    Raises:
        UserError: it has none or several, for which the table has no columns.
    """
    tests = read_config(cfg.FINETUNE.CONFIG, stage_options(cfg, "finetune"), "finetune")
    if len(tests.DATASETS.TESTS) != 1:
        raise UserError(
            f"stage finetune has DATASETS.TESTS {[*tests.DATASETS.TESTS]}; the study evaluates on "
            "one test set: set FINETUNE.DATASETS.TESTS to it"
        )
    return [*tests.DATASETS.TESTS]


def pool_names(config: str, options: Sequence[str]) -> list[str]:
    """Names of the pool's images, in order, which the pipeline's own config must pre-train on.

    Raises:
        UserError: it pre-trains on something else, of which no truth is known, or its test sets
            are wrong.
    """
    cfg = load_config(find_config(config), [*options, "OUTPUT_DIR", "."])
    one_test_set(cfg)
    pool = read_config(cfg.PRETRAIN.CONFIG, stage_options(cfg, "pretrain"), "pretrain")
    if [name.partition(":")[0] for name in pool.DATASETS.NAMES] != [POOL]:
        raise UserError(
            f"stage pretrain has DATASETS.NAMES {[*pool.DATASETS.NAMES]}; the study needs {POOL}, "
            "whose images are known to be of the target's domain or not"
        )
    return sorted(key_list(open_listing(pool, [*pool.DATASETS.NAMES])))


def small_pool(folder: Path, names: Sequence[str], count: int) -> list[str]:
    """Options that make the first images of the pool, a mixture of all kinds, the source.

    Args:
        folder: of a seed.
        names: all images of the pool.
        count: how many are used.

    Raises:
        UserError: there are not so many.
    """
    if not 0 < count <= len(names):
        raise UserError(f"--images is {count}; {POOL} has {len(names):,}, so write 1 to that")
    file = folder / f"first{count}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_list(file, PathList.from_iterable(names[:count]), np.zeros(count))
    value = repr((f"{POOL}:?list={file}",))
    return ["SOURCE.DATASETS.NAMES", value, "PRETRAIN.DATASETS.NAMES", value]


def report(out: Path, seeds: Sequence[dict[str, Any]]) -> str:
    """The tables of this call's seeds; also in out/study.md and out/study.json."""
    figures = {row: [seed["figures"][row] for seed in seeds] for row in seeds[0]["figures"]}
    separation = cfs_truth.separation_table([seed["separation"] for seed in seeds])
    names = ", ".join(str(seed["seed"]) for seed in seeds)
    text = f"Seeds: {names}\n\n{ablation.summary(figures)}\n\n{separation}"
    (out / "study.md").write_text(text + "\n")
    reports.write_json(out / RESULTS, list(seeds))
    return text


@show_user_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, print and write the tables; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default=CONFIG, help="of the pipeline")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("logs/cfs_study"))
    parser.add_argument("--images", type=int, help=f"take so many of {POOL}'s; default: all")
    parser.add_argument("--domain", action="store_true", help="pre-train on its images alone, too")
    parser.add_argument("--options", nargs="+", default=[], help="KEY VALUE pairs of the pipeline")
    args = parser.parse_args(argv)
    if len(set(args.seeds)) < len(args.seeds):
        raise UserError(f"--seeds {' '.join(map(str, args.seeds))} names one twice; take it out")
    names = pool_names(args.config_file, args.options)
    seeds = []
    try:
        for seed in args.seeds:
            folder = args.out / f"seed{seed}"
            options = [*args.options, "SEED", str(seed), "OUTPUT_DIR", str(folder)]
            if args.images is not None:
                options += small_pool(folder, names, args.images)
            seeds.append(run_seed(args.config_file, folder, options, args.domain))
            print(f"\n{report(args.out, seeds)}\n", flush=True)
    except (Interrupted, KeyboardInterrupt) as interruption:
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        return 128 + getattr(interruption, "signum", signal.SIGINT)
    print(
        f"ToyUnlabeled and ToyReID are synthetic. Each seed's report: {args.out}/seed*/report.html"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
