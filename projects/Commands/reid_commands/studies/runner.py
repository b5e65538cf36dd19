"""The runner of studies: several seeds, several arms, and a table of means and spreads.

A study declares its arms. Each is a training: skipped if it is finished, resumed if it was
interrupted. The table and the scores of each seed are written after every arm.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import reid_core  # noqa: F401  (first: repairs FastReID)
from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_common.files import write_json
from reid_core.config import load_config
from reid_core.data.opened_sets import opened_set
from reid_core.run.command_line import (
    PAIRS,
    add_config_arguments,
    add_pairs,
    command_parser,
    parse_command,
    show_user_errors,
)

from . import finished_run

Scores = Mapping[str, Any]  # {"mAP", "Rank-1"} in percent, or these of each test set
Rows = dict[str, list[Scores]]  # row of the table -> scores of each seed


@dataclass(frozen=True)
class Arm:
    """A training that a study compares with others.

    Attributes:
        title: row of the table.
        config: config file.
        folder: below the study's folder; each seed has its own in it.
        options: KEY VALUE pairs.
        prepare: what to do before it, as pre-training: gets the study's folder, the seed and the
            user's KEY VALUE pairs, and returns more pairs.
        evaluate: rows of the table and their scores: gets the folder of the training and its pairs.
            None: one row, the scores after training.
    """

    title: str
    config: str
    folder: str
    options: Sequence[str] = ()
    prepare: Callable[[Path, int, list[str]], list[str]] | None = None
    evaluate: Callable[[Path, list[str]], dict[str, Scores]] | None = None

    def run(self, out: Path, seed: int, opts: list[str]) -> dict[str, Scores]:
        """Rows of the table and their scores, of one seed."""
        folder = out / self.folder / f"seed{seed}"
        pairs = ["SEED", str(seed), "OUTPUT_DIR", str(folder), *opts, *self.options]
        if self.prepare is not None:
            pairs += self.prepare(out, seed, opts)
        results, _ = finished_run.train_and_report(self.config, pairs)
        if self.evaluate is not None:
            return self.evaluate(folder, pairs)
        return {self.title: results["trained"]}


def mean_and_spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± standard deviation; of a single value the value."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def summary(scores: Mapping[str, Sequence[Scores]]) -> str:
    """Markdown table: mean ± standard deviation over the seeds, and the seeds themselves.

    Args:
        scores: for each row its {"mAP", "Rank-1"}, one a seed, in percent.
    """
    rows = []
    for name, runs in scores.items():
        cells = [mean_and_spread([run[key] for run in runs]) for key in ("mAP", "Rank-1")]
        rows.append([name, len(runs), *cells, ", ".join(f"{run['mAP']:.1f}" for run in runs)])
    return finished_run.markdown(["model", "seeds", "mAP", "Rank-1", "mAP of each seed"], rows)


@dataclass(frozen=True)
class Study:
    """Arms that are compared, each with every seed.

    Attributes:
        description: docstring of the module.
        name: of the files with the table and the scores, and of the folder in logs/.
        arms: the trainings, from the arguments.
        add_arguments: adds those that only this study has to its parser.
        seeds: by default.
        table: text of the scores.
        conclusion: line below the table: gets the scores and the arguments.
        own: beginning of the keys that its arms do not get, since they are of what prepares them.
    """

    description: str | None
    name: str
    arms: Callable[[argparse.Namespace], Iterable[Arm]]
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    seeds: Sequence[int] = (1, 2, 3)
    table: Callable[[Rows], str] = summary
    conclusion: Callable[[Rows, argparse.Namespace], str] | None = None
    own: str = ""

    def parser(self) -> argparse.ArgumentParser:
        """The command line of the study."""
        lines = study_parser(self.description, self.seeds, self.folder)
        if self.add_arguments is not None:
            self.add_arguments(lines)
        return lines

    @property
    def folder(self) -> Path:
        """Where the study is written by default, without --dataset."""
        return Path("logs") / self.name

    @show_user_errors
    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run what is missing, print and write the table; returns the exit status."""
        keys = {**load_config(), self.own.rstrip("."): CfgNode()} if self.own else None
        args = parse_command(self.parser(), argv, keys)
        complete(args, self.folder)
        arms = [*self.arms(args)]
        opts = pairs_of_stage(args.opts, self.own)[0] if self.own else args.opts
        scores: Rows = {}
        # Seeds outermost: a whole table is there as soon as each arm is trained once.
        for seed in args.seeds:
            for arm in arms:
                for row, found in arm.run(args.out, seed, opts).items():
                    scores.setdefault(row, []).append(found)
                write_json(args.out / f"{self.name}.json", scores)
                (args.out / f"{self.name}.md").write_text(self.table(scores) + "\n")
                print(f"\n{self.table(scores)}\n", flush=True)
        if self.conclusion is not None:
            print(self.conclusion(scores, args), flush=True)
        return 0


def pairs_of_stage(opts: Sequence[str], own: str) -> tuple[list[str], list[str]]:
    """Split KEY VALUE pairs into those of every stage, and those of one, without ``own``.

    Args:
        opts: the user's KEY VALUE pairs.
        own: beginning of the stage's keys, as "PRETRAIN.".
    """
    pairs = [*zip(opts[::2], opts[1::2], strict=True)]
    shared = [part for pair in pairs if not pair[0].startswith(own) for part in pair]
    special = [pair for pair in pairs if pair[0].startswith(own)]
    return shared, [part for key, value in special for part in (key.removeprefix(own), value)]


def study_parser(
    description: str | None,
    seeds: Sequence[int] = (),
    out: Path | None = None,
    config: str = "",
    pairs: str = PAIRS,
) -> argparse.ArgumentParser:
    """The command line of every study: what all of them share is added here.

    Args:
        description: docstring of the module.
        seeds: by default; () if it is no study of several trainings, which have --dataset too.
        out: folder of the study, by default; None if the study has none.
        config: file, by default; "" if the study has its own for each training.
        pairs: help of the KEY VALUE pairs of ``config``.
    """
    lines = command_parser(description)
    if seeds:
        known = ", ".join(map(str, seeds))
        lines.add_argument("--seeds", type=int, nargs="+", default=[*seeds], help=f"({known})")
        what = "train and test on it, as on Market1501:identities=200 (the synthetic ToyReID)"
        lines.add_argument("--dataset", metavar="NAME", help=what)
    if out is not None:
        text = f"({out}, with --dataset {out}_NAME)"
        lines.add_argument("-o", "--out", type=Path, metavar="DIR", help=text)
    if config:
        add_config_arguments(lines, f"({config})", pairs, default=config)
    else:
        add_pairs(lines, "change every config, as in MODEL.DEVICE cpu")
    return lines


def complete(args: argparse.Namespace, out: Path) -> None:
    """Check the arguments of :func:`study_parser`, and fill in the folder.

    Raises:
        UserError: a seed is named twice, or KEY VALUE pairs set what each run has of its own.
    """
    for key, option in (("SEED", "--seeds"), ("OUTPUT_DIR", "--out")):
        if key in args.opts[::2]:
            raise UserError(f"each run has a {key} of its own; write {option} instead of {key}")
    check_once("--seeds", args.seeds)
    if args.out is None:
        args.out = out if args.dataset is None else Path(f"{out}_{file_name(args.dataset)}")


def check_once(option: str, numbers: Sequence[int]) -> None:
    """Raise UserError if an option of the command line names a number twice."""
    if len(set(numbers)) < len(numbers):
        raise UserError(f"{option} {' '.join(map(str, numbers))} names one twice; take it out")


def file_name(name: str) -> str:
    """Name of a data set or an arm without what files should not have in theirs."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


def dataset_options(train: str | None, test: str | None = None) -> list[str]:
    """KEY VALUE pairs that train and test on data sets, with what these know of each image.

    Args:
        train: name; None: that of the config, no pairs.
        test: name; None: as ``train``.

    Raises:
        UserError: the data set cannot be opened.
    """
    if train is None:
        return []
    sets = ["DATASETS.NAMES", repr((train,)), "DATASETS.TESTS", repr((test or train,))]
    views = [] if opened_set(train).viewpoint else ["MODEL.SIE.VIEW", "False"]
    return [*sets, "MODEL.SIE.NUM_CAMERAS", "0", "MODEL.SIE.NUM_VIEWS", "0", *views]
