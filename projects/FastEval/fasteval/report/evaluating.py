#!/usr/bin/env python3
"""Look at saved evaluations again, without the model: figures, intervals, pictures, comparison.

python tools/evaluate.py logs/run/results_Market1501.npz -o report/
python tools/evaluate.py logs/run/results_Market1501.npz --rerank --opts TEST.RERANK.K1 25
python tools/evaluate.py baseline.npz transreid.npz --names ViT TransReID -o report/

An evaluation with TEST.FASTEVAL.SAVE_RESULTS npz (or parquet) makes these files; feature files of
tools/extract_features.py with identities and cameras do, too, with --num-query. Settings are those
of the evaluation, unless others are given. Of several files each is compared with the first, query
by query. In the folder of -o are CMC and ROC, mAP of pairs of cameras, AP of identities with the
worst first, rank lists of the worst queries, and all of it as tables and as results.json.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from fasteval.analysis.analyse import analyse
from fasteval.analysis.comparison import compare_evaluations
from fasteval.analysis.paired import NUM_PERMUTATIONS
from fasteval.options import options_from_config
from fasteval.report import writing as evaluation_report
from fasteval.report.tables import Evaluated, comparison_table, figures_table, intervals_of
from fasteval.results.meta import config_of, settings_of
from fasteval.results.result_set import ResultSet, checked_results_name, read_results
from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.run.command_line import show_user_errors

SWITCHES = {
    "rerank": "TEST.RERANK.ENABLED",
    "aqe": "TEST.AQE.ENABLED",
    "dba": "TEST.FASTEVAL.DBA.ENABLED",
}


def evaluated(name: str, path: str, args: argparse.Namespace) -> Evaluated:
    """Read and evaluate a file."""
    results = read_results(path, args.num_query)
    evaluation_report.check_queries(args.queries, results.num_query)
    cfg = configured(results, args)
    roc = cfg.TEST.ROC.ENABLED or args.out is not None
    analysis = analyse(results, replace(options_from_config(cfg), roc=roc, top_k=args.top))
    same = settings_of(cfg) == results.meta.get("evaluation")
    saved = results.meta.get("scores", {}) if same else {}
    intervals = intervals_of(analysis, args.level, args.resamples, args.seed)
    return Evaluated(name, path, cfg, analysis, saved, intervals, args.level)


def configured(results: ResultSet, args: argparse.Namespace) -> CfgNode:
    """Settings of the evaluation that wrote the file, with the changes of the command line."""
    cfg = config_of(results.meta.get("evaluation", {}))
    if args.metric:
        cfg.TEST.METRIC = args.metric
    cfg.TEST.FASTEVAL.DEVICE = device_of(args.device)
    for name, key in SWITCHES.items():
        if getattr(args, name) is not None:
            cfg.merge_from_list([key, getattr(args, name)])
    try:
        cfg.merge_from_list(args.opts)
    except (AssertionError, KeyError, ValueError) as error:
        raise UserError(f"--opts {' '.join(args.opts)}: {error}") from error
    return cfg


def device_of(name: str) -> str:
    """A device that is there; "auto" is a GPU if there is one."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name}: {reason}; leave it out for what is there") from error
    return name


def named(files: list[str], names: list[str] | None) -> dict[str, str]:
    """Name -> file: names as given, or stems if they differ, or paths but for the shared part.

    Raises:
        UserError: a name is missing, or two are the same.
    """
    for file in files:
        checked_results_name(file)
    if names is None:
        names = [Path(file).stem for file in files]
        if len(set(names)) < len(names):
            whole = [os.path.splitext(os.path.abspath(file))[0] for file in files]
            shared = os.path.commonpath([os.path.dirname(file) for file in whole])
            names = [os.path.relpath(file, shared) for file in whole]
    if len(names) != len(files):
        raise UserError(f"--names has {len(names)} names for {len(files)} files; give one each")
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise UserError(f"two results have the name {twice!r}; give others with --names")
    return dict(zip(names, files, strict=True))


def parser() -> argparse.ArgumentParser:
    """Command line."""
    lines = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    lines.add_argument("results", nargs="+", help=".npz or .parquet")
    lines.add_argument("-o", "--out", type=Path, metavar="DIR", help="folder of pictures, tables")
    lines.add_argument("--names", nargs="+", help="of the results, one each; default: the files'")
    lines.add_argument("--num-query", type=_positive, metavar="N", help="queries of a feature file")
    lines.add_argument("--metric", choices=("cosine", "euclidean"))
    for name, key in SWITCHES.items():
        lines.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=key)
    lines.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="as in TEST.RERANK.K1 25"
    )
    lines.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    lines.add_argument("--level", type=_share, default=0.95, help="of intervals (0.95)")
    lines.add_argument(
        "--resamples", type=_positive, default=NUM_PERMUTATIONS, help="draws (%(default)s)"
    )
    lines.add_argument("--seed", type=int, default=0, help="of the draws")
    lines.add_argument("--max-rank", type=_positive, default=50, help="of the CMC (50)")
    lines.add_argument(
        "--queries", nargs="+", default=["worst"], help="of rank lists: worst, spread or numbers"
    )
    lines.add_argument("--rows", type=_positive, default=8, help="queries of rank lists (8)")
    lines.add_argument("--top", type=_positive, default=10, help="images of each (10)")
    lines.add_argument("--images", metavar="DIR", help="where the images are on this machine")
    return lines


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


@show_user_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate, print, and write what is asked for."""
    args = parser().parse_args(argv)
    files = named(args.results, args.names)
    look = evaluation_report.Look(args.max_rank, args.queries, args.rows, args.images)
    if args.out is not None:
        evaluation_report.make_folder(args.out)
    ones, comparisons = [], {}
    for name, path in files.items():
        ones.append(evaluated(name, path, args))
        print(figures_table(ones[-1]), end="\n\n", flush=True)
    for other in ones[1:]:
        compared = compare_evaluations(
            ones[0].analysis, other.analysis, args.level, args.resamples, args.seed
        )
        comparisons[other.name] = compared
        names = (ones[0].name, other.name)
        print(comparison_table(names, compared, args.level), end="\n\n", flush=True)
    if args.out is not None:
        evaluation_report.write_report(ones, comparisons, args.out, look)
        print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
