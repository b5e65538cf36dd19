"""Ablation: baseline, +JPM, +SIE, both; several seeds, mean and spread.

python tools/ablation.py --seeds 1 2 3 MODEL.DEVICE cuda
python tools/ablation.py --dataset Market1501:identities=200
python tools/ablation.py --dataset Market1501 --recipe gpu

Trains one model after another, on the synthetic ToyReID in logs/ablation or on --dataset with
Market1501/small_cpu_*.yml (--recipe gpu: small_*.yml), then compares each with the baseline query
by query. An interrupted call is resumed by the next.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from fasteval.analysis.analyse import Analysis
from fasteval.analysis.comparison import compare_evaluations
from fasteval.report.evaluating import Settings, evaluated
from fasteval.results.result_set import results_name
from reid_common.errors import UserError

from .finished_run import markdown
from .runner import Arm, Rows, Study, dataset_options

CONFIGS = "projects/TransReID/configs"
TITLES = {
    "baseline": "base",
    "+JPM": "jpm",
    "+SIE": "sie",
    "TransReID (+JPM +SIE)": "transreid",
}
RECIPES = {"cpu": "small_cpu", "gpu": "small"}


def add_arguments(lines: argparse.ArgumentParser) -> None:
    """Add the recipe."""
    recipes = "size of model and images with --dataset (cpu)"
    lines.add_argument("--recipe", choices=RECIPES, help=recipes)


def arms(args: argparse.Namespace) -> Iterator[Arm]:
    """The four trainings; those on a data set save what their queries found.

    Raises:
        UserError: a recipe for ToyReID, which has one.
    """
    if args.recipe and not args.dataset:
        raise UserError(f"--recipe {args.recipe} is for photographs; name them with --dataset")
    options = dataset_options(args.dataset)
    recipe = "ToyReID/vit_tiny"
    if args.dataset:
        recipe = f"Market1501/{RECIPES[args.recipe or 'cpu']}"
        options += ["TEST.FASTEVAL.SAVE_RESULTS", "npz"]
    for title, name in TITLES.items():
        folder = f"{Path(recipe).name}_{name}"
        yield Arm(title, f"{CONFIGS}/{recipe}_{name}.yml", folder, options)


def comparison(scores: Rows, args: argparse.Namespace) -> str:
    """Markdown table of each arm less the baseline, with a test over identities; "" on ToyReID.

    Where there are no results files of single queries a sentence says so.
    """
    if not args.dataset:
        return ""
    baseline, *others = arms(args)
    name = results_name(args.dataset, "npz")
    files = {
        (seed, arm.folder): args.out / arm.folder / f"seed{seed}" / name
        for seed in args.seeds
        for arm in (baseline, *others)
    }
    for file in files.values():
        if not file.exists():
            return (
                f"No comparison of single queries: there is no {file}. It is written by tests of a "
                "single split with TEST.EVALUATOR FastEvaluator and TEST.FASTEVAL.SAVE_RESULTS npz"
            )
    rows = []
    for seed in args.seeds:
        first = _evaluation(files[seed, baseline.folder])
        for arm in others:
            second = _evaluation(files[seed, arm.folder])
            row: list[object] = [arm.title, seed]
            for one in compare_evaluations(first, second).measures.values():
                gain = one.difference.percent()
                cell = (
                    f"{gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f}), p {one.p_value:.3f}"
                )
                row.append(cell)
            rows.append(row)
    columns = [f"{name} (95% interval over identities)" for name in ("mAP", "Rank-1")]
    return markdown(["less the baseline", "seed", *columns], rows)


def _evaluation(file: Path) -> Analysis:
    return evaluated("", str(file), Settings()).analysis


STUDY = Study(__doc__, "ablation", arms, add_arguments, conclusion=comparison)
main, parser = STUDY.main, STUDY.parser
