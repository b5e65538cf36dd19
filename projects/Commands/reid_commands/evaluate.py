"""Evaluate saved results again, without the model: metrics, intervals, pictures, comparison.

transreid evaluate logs/run/results_Market1501.npz -o report/
transreid evaluate logs/run/results_Market1501.npz --rerank TEST.RERANK.K1 25
transreid evaluate baseline.npz transreid.npz --names ViT TransReID -o report/

Evaluations with TEST.FASTEVAL.SAVE_RESULTS npz (or parquet) write these files; feature files of
transreid extract with identities and cameras serve as well, with --num-query. Settings are those of
the saved evaluation unless changed here. Of several files each is compared with the first, query by
query. The folder of -o receives CMC and ROC curves, mAP of camera pairs, AP of identities (worst
first), rank lists of the worst queries, and all of it as tables and results.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fasteval.analysis.paired import NUM_PERMUTATIONS
from fasteval.report.evaluating import Settings, evaluate_files, named
from fasteval.report.rank_lists import Look
from reid_core.run.command_line import add_pairs, command_parser, positive

from .command import command

SWITCHES = {
    "rerank": "TEST.RERANK.ENABLED",
    "aqe": "TEST.AQE.ENABLED",
    "dba": "TEST.FASTEVAL.DBA.ENABLED",
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("results", nargs="+", help=".npz or .parquet")
    add("-o", "--out", type=Path, metavar="DIR", help="folder of the report")
    add("--names", nargs="+", help="names of the results, one each (default: those of the files)")
    add("--num-query", type=positive, metavar="N", help="number of queries in a feature file")
    add("--metric", choices=("cosine", "euclidean"), help="TEST.METRIC")
    for name, key in SWITCHES.items():
        add(f"--{name}", action=argparse.BooleanOptionalAction, help=key)
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (auto)")
    add("--level", type=_share, default=0.95, help="confidence level of intervals (0.95)")
    draws = "random draws for intervals and tests (%(default)s)"
    add("--resamples", type=positive, default=NUM_PERMUTATIONS, metavar="N", help=draws)
    add("--seed", type=int, default=0, help="seed of the draws (0)")
    add("--max-rank", type=positive, default=50, metavar="N", help="last rank of the CMC (50)")
    queries = "queries of the rank lists: worst, spread (evenly), or their 0-based numbers (worst)"
    add("--queries", nargs="+", default=["worst"], help=queries)
    add("--rows", type=positive, default=8, help="number of queries in the rank lists (8)")
    add("--top", type=positive, default=10, help="images shown for each query (10)")
    add("--images", metavar="DIR", help="folder of the images on this machine")
    add_pairs(lines, "change settings, as in TEST.RERANK.K1 25")
    return lines


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def settings(args: argparse.Namespace) -> Settings:
    """Settings of an evaluation from the command line."""
    changed = {key: getattr(args, name) for name, key in SWITCHES.items()}
    changed["TEST.METRIC"] = args.metric
    options = [word for key, value in changed.items() if value is not None for word in (key, value)]
    options += args.opts
    numbers = (args.num_query, args.device, args.top, args.level, args.resamples, args.seed)
    return Settings(options, *numbers)


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    look = Look(args.max_rank, args.queries, args.rows, args.images)
    evaluate_files(named(args.results, args.names), settings(args), look, args.out)
