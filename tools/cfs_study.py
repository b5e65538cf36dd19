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
from cfs import select
from cfs.filters.names import key_list
from cfs.pipeline.config import load_config, stage_gpus, stage_options
from cfs.pipeline.records import read_record
from cfs.scores import read_scores
from cfs.scoring.lists import write_list
from cfs.scoring.sources import open_listing
from dinopretrain.data.path_list import PathList
from dinopretrain.data.pool.plan import PERSON
from fastreid.config import CfgNode
from fastreid_compat.command_line import show_user_errors
from fastreid_compat.errors import UserError
from pipeline_plan import SCORES
from pipeline_process import Interrupted
from pipeline_stages import find_config, only_listed, read_config, started_from

CONFIG = "projects/CFS/configs/Toy.yml"
ALL, RANDOM, WORST, DOMAIN = "all", "random", "worst", "domain"
DOMAIN_TITLE = "DINO on the target's domain alone (hidden truth)"
RESULTS = "study.json"
POOL = "ToyUnlabeled"


def titles(keep: str) -> dict[str, str]:
    """Training that is evaluated -> row of the table.

    Args:
        keep: how much is selected, as in "50%".
    """
    return {
        "scratch": "from scratch",
        f"finetune_{ALL}": "DINO on all",
        "finetune": f"DINO on the best {keep} by CFS",
        f"finetune_{RANDOM}": f"DINO on a random {keep}",
        f"finetune_{WORST}": f"DINO on the worst {keep} by CFS",
    }


def write_selections(folder: Path, count: int, seed: int, domain: bool = False) -> dict[str, Path]:
    """Lists of as many images as CFS has selected: random ones, and those of the lowest scores.

    Args:
        folder: of a pipeline that has scored.
        count: number of images.
        seed: of the random choice.
        domain: also list random ones of the target's domain, as many as there are or ``count``.
    """
    scores = read_scores(str(folder / SCORES))
    scored = np.flatnonzero(np.isfinite(scores.values))
    chosen = {
        RANDOM: np.random.default_rng(seed).permutation(scored)[:count],
        WORST: select(scores.names, -scores.values, keep_num=count),
    }
    if domain:
        kinds = np.array(cfs_truth.kinds_of(scores.names))
        rows = scored[kinds[scored] == PERSON]
        chosen[DOMAIN] = np.random.default_rng(seed).permutation(rows)[:count]
    files = {}
    for name, rows in chosen.items():
        files[name] = folder / "selection" / f"{name}.txt"
        files[name].parent.mkdir(exist_ok=True)
        if not files[name].exists():
            write_list(files[name], scores.names.take(rows), scores.values[rows])
    return files


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
    pipeline_run.run_pipeline(config, options)
    cfg = load_config(find_config(config), options)
    train = _Trainings(cfg, folder)
    selected = read_record(folder, "select")
    assert selected is not None
    kept = selected.sizes["kept"]
    pool = read_config(cfg.PRETRAIN.CONFIG, stage_options(cfg, "pretrain"), "pretrain")
    arms: dict[str, list[str]] = {ALL: []}
    for name, file in write_selections(folder, kept, cfg.SEED, domain).items():
        arms[name] = only_listed(pool, str(file))
    for name, chosen in arms.items():
        weights = train("pretrain", f"pretrain_{name}", chosen)
        train("finetune", f"finetune_{name}", started_from(weights))
    train("finetune", "scratch", [])
    tests = read_config(cfg.FINETUNE.CONFIG, stage_options(cfg, "finetune"), "finetune")
    rows = titles(f"{kept / selected.sizes['images']:.0%}")
    figures = pipeline_run.run_evaluation(folder, "study", rows, tests.DATASETS.TESTS)
    if domain:
        rows = {f"finetune_{DOMAIN}": DOMAIN_TITLE}
        figures += pipeline_run.run_evaluation(folder, "study_domain", rows, tests.DATASETS.TESTS)
    images = open_listing(pool, [*pool.DATASETS.NAMES])
    scores = read_scores(str(folder / SCORES))
    results = {
        "figures": {row["title"]: {k: row[k] for k in ("mAP", "Rank-1")} for row in figures},
        "separation": cfs_truth.separation(scores, images, folder / "filter_cache"),
    }
    reports.write_json(folder / RESULTS, results)
    pipeline_run.write_report(folder)  # once more, with all arms
    return results


class _Trainings:
    """Runs further trainings with the configs of a pipeline's stages."""

    def __init__(self, cfg: CfgNode, folder: Path) -> None:
        self.cfg, self.folder = cfg, folder

    def __call__(self, stage: str, name: str, more: Sequence[str]) -> Path:
        """Train as ``stage`` does, but for ``more`` options; returns the weights."""
        options = [*stage_options(self.cfg, stage), *more]
        config = self.cfg[stage.upper()].CONFIG
        title = name.replace("_", ", ")
        gpus = stage_gpus(self.cfg, stage)
        record = pipeline_run.run_training(self.folder, name, title, config, options, gpus)
        return self.folder / record.outputs["weights"]


def pool_names(config: str, options: Sequence[str]) -> list[str]:
    """Names of the pool's images, in order, which the pipeline's own config must pre-train on.

    Raises:
        UserError: it pre-trains on something else, of which no truth is known.
    """
    cfg = load_config(find_config(config), [*options, "OUTPUT_DIR", "."])
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
    """The tables of several seeds; also in out/study.md and out/study.json."""
    figures = {row: [seed["figures"][row] for seed in seeds] for row in seeds[0]["figures"]}
    separation = cfs_truth.separation_table([seed["separation"] for seed in seeds])
    text = f"{ablation.summary(figures)}\n\n{separation}"
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
