"""One training of a study: tested before and after, drawn, recorded, and never done twice.

Writes ``results.json``, ``results.md``, ``curve.png`` and ``ranks.png`` beside FastReID's
``metrics.json`` and TensorBoard events.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from cfs.pipeline.stages.settings import flat
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from reid_common.curves import draw_curves
from reid_common.errors import UserError
from reid_common.files import read_json, was_begun, write_json
from reid_core.config import find_config
from reid_core.run import reports
from reid_core.run.command_line import forget_loggers
from reid_core.run.output_lock import only_run
from reid_core.run.preflight import preflight
from transreid import load_config, resolve_side_information, training
from transreid.weights.formats import side_information_of_weights

RESULTS = "results.json"
CONFIG = "config.yaml"  # FastReID's name: the settings of a run, from its first moment
# Keys that make no difference to the results, and what stands for them in a record of settings
NO_DIFFERENCE = {
    "OUTPUT_DIR": "",
    "MODEL.DEVICE": "",
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.CHECKPOINT_PERIOD": 0,
}


def train_and_report(config: str, opts: Sequence[str]) -> tuple[dict[str, Any], Path]:
    """Train and report one config: a finished run is not repeated, an interrupted one resumed.

    Args:
        config: config file, from here or from the repository.
        opts: KEY VALUE pairs.

    Returns:
        The results (also in results.json) and the output folder.

    Raises:
        UserError: the folder holds a run of other settings, or the training is not tested.
    """
    config = find_config(config)
    forget_loggers()  # of an earlier run in this process, which has its own log.txt
    cfg = load_config(config, opts)
    folder = Path(cfg.OUTPUT_DIR)
    with only_run(str(folder)):
        if (folder / RESULTS).exists():
            results = read_json(folder / RESULTS)
            resolve_side_information(cfg)
            check_same_settings(yaml.safe_load(results["settings"]), cfg, folder)
            return results, folder
        _check_tests(cfg)
        resolve_side_information(cfg)
        check_begun(folder, cfg)
        return _train_and_report(config, opts), folder


def _train_and_report(config: str, opts: Sequence[str]) -> dict[str, Any]:
    args = training.arguments(config, opts, resume=True)
    cfg = training.setup(args)
    folder = Path(cfg.OUTPUT_DIR)
    dataset = cfg.DATASETS.TESTS[0]
    resumed = was_begun(folder)
    results: dict[str, Any] = {"config": config, "dataset": dataset, "settings": settings_text(cfg)}
    results["untrained"] = _scores(DefaultTrainer.test(cfg, training.model_with(cfg, weights="")))

    start = time.perf_counter()
    # It sets up and seeds once more: the run is the one of tools/train_net.py.
    trained = training.run_in_held_folder(args)
    # Of a resumed run this call has timed a part only.
    results["seconds_of_training"] = None if resumed else round(time.perf_counter() - start)
    results["trained"] = _scores(trained)
    weights = folder / "model_final.pth"
    test = reports.extract(cfg, training.model_with(cfg, str(weights)), dataset)
    results["chance"] = reports.chance(test)
    draw_curves({dataset: folder}, folder / "curve.png", config)
    reports.draw_ranks(test, folder / "ranks.png", f"{dataset}: queries and their top 10")
    (folder / "results.md").write_text(table(results) + "\n")
    write_json(folder / RESULTS, results)
    return results


def _check_tests(cfg: CfgNode) -> None:
    """Raise UserError if a training will not end with the scores of one test set."""
    if len(cfg.DATASETS.TESTS) != 1:
        raise UserError(f"DATASETS.TESTS is {[*cfg.DATASETS.TESTS]}; name one test set")
    if cfg.TEST.EVAL_PERIOD < 1:
        raise UserError(
            f"TEST.EVAL_PERIOD is {cfg.TEST.EVAL_PERIOD}, so that the trained model is not tested; "
            "set a number of epochs, 1 or more"
        )


def check_begun(folder: Path, cfg: CfgNode) -> None:
    """Check that a training that will be resumed was begun with the settings of ``cfg``.

    Raises:
        UserError: the first key that differs, and both values.
    """
    begun_with = folder / CONFIG
    if was_begun(folder) and begun_with.exists():
        before = yaml.safe_load(begun_with.read_text(encoding="utf-8"))
        if not cfg.MODEL.HEADS.NUM_CLASSES:  # FastReID has set it to that of the training set
            before["MODEL"]["HEADS"]["NUM_CLASSES"] = 0
        check_same_settings(before, cfg, folder)


def settings_text(cfg: CfgNode) -> str:
    """The config as text, without what does not change the results."""
    cfg = cfg.clone()
    cfg.defrost()
    for key, value in NO_DIFFERENCE.items():
        cfg.merge_from_list([key, value])
    return cfg.dump()


def check_same_settings(old: Mapping[str, Any], cfg: CfgNode, folder: Path) -> None:
    """Compare a run's settings, as YAML holds them, with a config.

    Keys that only one has, as of a later version, do not count.

    Raises:
        UserError: the first key that differs, and both values.
    """
    before, now = (dict(flat(node)) for node in (old, yaml.safe_load(settings_text(cfg))))
    for key, value in now.items():
        if key not in NO_DIFFERENCE and before.get(key, value) != value:
            raise UserError(
                f"{folder} holds a run of other settings: {key} was {before[key]!r}, now it "
                f"is {value!r}. Set it back, choose another OUTPUT_DIR, or remove the folder"
            )


def _scores(results: dict[str, Any]) -> dict[str, float]:
    return {key: float(results[key]) for key in ("mAP", "Rank-1")}


def evaluate_weights(
    config: str, opts: Sequence[str], weights: Path, tests: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """mAP and Rank-1 of a training's weights on further test sets; its files stay as they are.

    Args:
        config: config file of the training.
        opts: KEY VALUE pairs of the training, and what is evaluated in another way.
        weights: checkpoint.
        tests: name of the scores -> test set.
    """
    cfg = load_config(find_config(config), [*opts, "MODEL.WEIGHTS", str(weights)])
    cfg.DATASETS.TESTS = tuple(tests.values())
    preflight(cfg, eval_only=True)
    resolve_side_information(cfg, side_information_of_weights(cfg))
    model = training.model_with(cfg, str(weights))
    scores = {}
    for name, test in tests.items():
        cfg.DATASETS.TESTS = (test,)
        scores[name] = _scores(DefaultTrainer.test(cfg, model))
    return scores


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def table(results: dict[str, Any]) -> str:
    """The results as a Markdown table."""
    names = {"chance": "chance", "untrained": "untrained model", "trained": "trained model"}
    found = [(name, results[key]) for key, name in names.items()]
    rows = [(name, f"{row['mAP']:.1f}", f"{row['Rank-1']:.1f}") for name, row in found]
    return markdown([results["dataset"], "mAP", "Rank-1"], rows)
