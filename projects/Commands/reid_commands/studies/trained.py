#!/usr/bin/env python3
"""The demo: train a small TransReID on the synthetic ToyReID, and show what it learnt.

python tools/demo.py

Evaluates the untrained model, trains it, evaluates again, prints a table and writes
``results.json``, ``results.md``, ``curve.png`` and ``ranks.png`` beside FastReID's ``metrics.json``
and TensorBoard events. Interrupt it at any time: the next call resumes, and a finished run is only
printed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import yaml
from cfs.pipeline.settings import differing, flat
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer, default_argument_parser
from reid_common import pictures
from reid_common.errors import UserError
from reid_core.run import reports
from reid_core.run.command_line import forget_loggers, show_user_errors

from .. import train as train_net

CONFIG = "projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml"


def run(config: str, opts: list[str]) -> tuple[dict[str, Any], Path]:
    """Train and report one config; what an earlier call has finished is not done again.

    Args:
        config: config file.
        opts: KEY VALUE pairs, as on the command line of train_net.py.

    Returns:
        The results (also in results.json) and the output folder.
    """
    forget_loggers()  # of an earlier run in this process, which has its own log.txt
    args = default_argument_parser().parse_args(["--config-file", config, "--resume", *opts])
    cfg = train_net.setup(args)
    folder = Path(cfg.OUTPUT_DIR)
    results_file = folder / "results.json"
    settings = _settings(cfg)
    if results_file.exists():
        results = json.loads(results_file.read_text())
        _check_same_settings(results["settings"], settings, folder)
        return results, folder

    dataset = cfg.DATASETS.TESTS[0]
    resumed = (folder / "last_checkpoint").exists()
    results: dict[str, Any] = {"config": config, "dataset": dataset, "settings": settings}
    results["untrained"] = _scores(DefaultTrainer.test(cfg, train_net.model_with(cfg, weights="")))

    start = time.perf_counter()
    # It sets up again, so that the seed starts anew: the run is the one of train_net.py.
    trained = train_net.main(args)
    # Of a run that was interrupted, this call has seen a part only.
    results["seconds_of_training"] = None if resumed else round(time.perf_counter() - start)
    results["trained"] = _scores(trained)
    weights = folder / "model_final.pth"
    test = reports.extract(cfg, train_net.model_with(cfg, str(weights)), dataset)
    results["chance"] = reports.chance(test)
    pictures.draw_curves({dataset: folder}, folder / "curve.png", config)
    reports.draw_ranks(test, folder / "ranks.png", f"{dataset}: queries and their top 10")
    (folder / "results.md").write_text(table(results) + "\n")
    reports.write_json(results_file, results)
    return results, folder


def _settings(cfg: CfgNode) -> str:
    """The config as text, without what makes no difference to the results."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = cfg.MODEL.DEVICE = ""
    cfg.DATALOADER.NUM_WORKERS = cfg.SOLVER.CHECKPOINT_PERIOD = 0
    return cfg.dump()


def _check_same_settings(old: str, new: str, folder: Path) -> None:
    """Compare two configs as text; keys that only one has, as a later version adds, do not count.

    Raises:
        UserError: the first key that differs, and both values.
    """
    before, now = (dict(flat(yaml.safe_load(text))) for text in (old, new))
    for key in differing(before, now):
        raise UserError(
            f"{folder} holds the results of other settings: {key} was {before[key]!r}, now it is "
            f"{now[key]!r}. Set it back, choose another OUTPUT_DIR, or remove the folder"
        )


def _scores(results: dict[str, Any]) -> dict[str, float]:
    return {key: float(results[key]) for key in ("mAP", "Rank-1")}


def table(results: dict[str, Any]) -> str:
    """The results as a Markdown table."""
    lines = [f"| {results['dataset']} | mAP | Rank-1 |", "|---|---|---|"]
    names = {"chance": "chance", "untrained": "untrained model", "trained": "trained model"}
    for key, name in names.items():
        row = results[key]
        lines.append(f"| {name} | {row['mAP']:.1f} | {row['Rank-1']:.1f} |")
    return "\n".join(lines)


@show_user_errors
def main() -> None:
    """Parse the command line, run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default=CONFIG)
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for the config")
    args = parser.parse_args()
    results, folder = run(args.config_file, args.opts)
    print(f"\n{table(results)}\n")
    ratio = results["trained"]["mAP"] / results["untrained"]["mAP"]
    seconds = results["seconds_of_training"]
    time_taken = "" if seconds is None else f", after {seconds / 60:.1f} minutes of training"
    print(f"mAP is {ratio:.1f} times that of the untrained model{time_taken}.")
    print(f"ToyReID is synthetic. Curve, ranking pictures, weights and events: {folder}/")


if __name__ == "__main__":
    main()
