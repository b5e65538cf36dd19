"""Compare trained models on a data set: accuracy with intervals, paired tests, speed, size.

python tools/compare_models.py logs/vit logs/transreid published/market-vit --dataset Market1501
python tools/compare_models.py a/model_best.pth me/vit --dataset CSVReID:shop.csv MODEL.DEVICE cpu

A model is a folder of transreid publish, USER/NAME on the Hugging Face hub, a run's folder, or a
checkpoint beside its config.yaml. Writes comparison.md, comparison.json and accuracy_speed.png. A
finished evaluation is not repeated, an interrupted one resumed by the same command; the speed is
measured each time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fasteval.analysis.paired import NUM_PERMUTATIONS
from fasteval.report.evaluating import Settings, distinct_names, evaluated
from fasteval.report.writing import make_folder
from reid_common.errors import UserError
from reid_core.run.command_line import add_pairs, command_parser, positive

from ..command import command
from . import compared_models
from .comparison_report import ModelComparison, compared_pairs
from .runner import file_name

OUT = Path("logs") / "compare_models"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("models", nargs="+", metavar="MODEL", help="folder, USER/NAME or checkpoint")
    add("--dataset", required=True, metavar="NAME", help="test set, as in DATASETS.TESTS")
    add("-o", "--out", type=Path, metavar="DIR", help=f"folder ({OUT}_NAME)")
    add("--names", nargs="+", help="names of the models, one each (default: of their folders)")
    add("--batch-size", type=positive, default=32, metavar="N", help="images, for the speed (32)")
    add("--rounds", type=int, default=3, metavar="N", help="measurements of the speed; 0: none (3)")
    draws = "random draws for intervals and tests (%(default)s)"
    add("--resamples", type=positive, default=NUM_PERMUTATIONS, metavar="N", help=draws)
    add("--seed", type=int, default=0, help="seed of the draws (0)")
    add_pairs(lines, "change every config, as in MODEL.DEVICE cpu")
    return lines


def named_models(places: list[str], names: list[str] | None) -> dict[str, compared_models.Model]:
    """Name -> model; UserError where one is not found, or two would have one folder."""
    stems = [
        str(Path(place).with_suffix("")) if place.endswith(".pth") else place for place in places
    ]
    names = distinct_names(stems, names, "models")
    folders = [file_name(name) for name in names]
    if len(set(folders)) < len(folders) or "" in folders:
        raise UserError(f"the names {', '.join(names)} give no folders of their own; see --names")
    return {
        name: compared_models.find_model(place) for name, place in zip(names, places, strict=True)
    }


@command(parser, resumes=True)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    if args.rounds < 0:
        raise UserError(f"--rounds is {args.rounds}; give at least 0")
    models = named_models(args.models, args.names)
    out = args.out or OUT.with_name(f"{OUT.name}_{file_name(args.dataset)}")
    make_folder(out)
    settings = Settings(resamples=args.resamples, seed=args.seed)
    found = {}
    for name, model in models.items():
        file = compared_models.evaluate(model, args.dataset, out / file_name(name), args.opts)
        found[name] = evaluated(name, file, settings)
    comparison = ModelComparison(
        args.dataset,
        found,
        compared_models.costs(models, args.opts, args.batch_size, args.rounds),
        compared_pairs([*found.values()], settings),
        compared_models.threads(),
        args.batch_size,
    )
    print(comparison.write(out))
    print(f"wrote {out}")
