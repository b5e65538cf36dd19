"""Trained models that are compared: where they are, their evaluation, their speed and size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from fastreid_compat.repairs.config.settings import resolve_device
from reid_common.digests import file_digest, images_digest
from reid_common.errors import UserError
from reid_common.files import read_json, write_json
from reid_common.published import CONFIG, is_published
from reid_core.config import load_config
from reid_core.data.opened_sets import opened_set
from reid_core.run.command_line import forget_loggers
from reid_core.run.output_lock import only_run
from transreid import FeatureExtractor, training
from transreid.inference.published_model import published_model

from ..benchmarks.harness import alternate, timed
from .finished_run import settings_text

FINAL = "model_final.pth"
DONE = "compared.json"  # what the results beside it were made of
LEAST_SECONDS = 0.5  # of one measurement of the speed


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
        place: as it was named.
        config: YAML file.
        weights: checkpoint.
    """

    place: str
    config: str
    weights: str

    def extractor(self, opts: Sequence[str]) -> FeatureExtractor:
        """The model, on MODEL.DEVICE of its config and of ``opts``, KEY VALUE pairs."""
        device = resolve_device(load_config(self.config, opts))
        return FeatureExtractor(self.config, self.weights, device=device, options=opts)


def find_model(place: str) -> Model:
    """Find a model by a published folder, USER/NAME on the hub, a run's folder, or a checkpoint.

    Raises:
        UserError: none of them, or a run without its config or weights.
    """
    file = Path(place)
    if file.is_dir() and not is_published(file):
        file = file / FINAL
    if file.is_dir() or not (file.exists() or file.suffix == ".pth"):
        return Model(place, *published_model(place))
    config = file.with_name(CONFIG)
    for needed in (file, config):
        if not needed.is_file():
            raise UserError(
                f"{place!r} is no trained model: there is no {str(needed)!r}. Name a folder of "
                f"transreid publish, a run with {CONFIG} and {FINAL}, or a checkpoint beside its "
                f"{CONFIG}"
            )
    return Model(place, str(config), str(file))


def evaluate(model: Model, dataset: str, folder: Path, opts: Sequence[str]) -> str:
    """Evaluate a model on a data set, as ``transreid train --eval-only`` does.

    A finished evaluation of the same weights, settings and images is not repeated, an interrupted
    one is resumed.

    Args:
        model: it.
        dataset: registered name of the test set.
        folder: of this evaluation.
        opts: KEY VALUE pairs.

    Returns:
        The results file.

    Raises:
        UserError: what the evaluation raises; a protocol that leaves no results file.
    """
    tests = ["DATASETS.TESTS", repr((dataset,)), "TEST.FASTEVAL.SAVE_RESULTS", "npz"]
    places = ["MODEL.WEIGHTS", model.weights, "OUTPUT_DIR", str(folder)]
    args = training.arguments(model.config, [*opts, *tests, *places], eval_only=True)
    forget_loggers()  # of the model before, which has its own log.txt
    cfg = load_config(model.config, args.opts)
    cfg.MODEL.WEIGHTS = ""  # where they lie makes no difference
    done = {
        "settings": settings_text(cfg),
        "weights_sha256": file_digest(model.weights),
        "images_sha256": images_digest(map(_described, opened_set(dataset).test.items)),
    }
    with only_run(str(folder)):
        if not (folder / DONE).exists() or read_json(folder / DONE) != done:
            for old in (folder / DONE, *folder.glob("results_*.npz")):
                old.unlink(missing_ok=True)
            training.run_in_held_folder(args)
            if [*folder.glob("results_*.npz")]:
                write_json(folder / DONE, done)
        results = [*folder.glob("results_*.npz")]
    if not results:
        raise UserError(
            f"--dataset {dataset}: its evaluation leaves no results file, as with a protocol of "
            "several splits or another TEST.EVALUATOR than FastEval's; name another data set"
        )
    return str(results[0])


def _described(item: Sequence[object]) -> tuple[str, ...]:
    return tuple(map(str, item))


@dataclass(frozen=True)
class Cost:
    """What a model takes.

    Attributes:
        images_per_second: on this machine; None: not measured.
        parameters: their number.
        mib: weights in memory.
        feature_dim: numbers of a feature.
    """

    images_per_second: float | None
    parameters: int
    mib: float
    feature_dim: int


def costs(
    models: dict[str, Model], opts: Sequence[str], batch: int, rounds: int
) -> dict[str, Cost]:
    """Size of each model and its speed: from a batch of pixels in memory to features.

    The models take turns, so that a machine that gets slower slows all of them.

    Args:
        models: by name.
        opts: KEY VALUE pairs.
        batch: images.
        rounds: measurements of each, of which the median counts; 0: none.
    """
    forget_loggers()  # the log of the last evaluation is complete
    extractors = {name: model.extractor(opts) for name, model in models.items()}
    dims = {name: extractor.feature_dim for name, extractor in extractors.items()}
    speeds: dict[str, float] = {}
    if rounds:
        steps = {name: _step(extractor, batch) for name, extractor in extractors.items()}
        for step in steps.values():  # warms up
            step()
        timers = {name: timed(step, LEAST_SECONDS) for name, step in steps.items()}
        rows = alternate(timers, rounds).rows(images=batch)
        speeds = {str(row["contender"]): float(row["images/s"]) for row in rows}
    found = {}
    for name, extractor in extractors.items():
        tensors = extractor.model.state_dict().values()
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20
        parameters = sum(p.numel() for p in extractor.model.parameters())
        found[name] = Cost(speeds.get(name), parameters, size, dims[name])
    return found


def _step(extractor: FeatureExtractor, batch: int):
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, *extractor.cfg.INPUT.SIZE_TEST, generator=draw) * 255
    ids = torch.tensor([extractor.known_ids]).expand(batch, 2).unbind(1)
    return lambda: extractor.extract(images, *ids)


def threads() -> str:
    """What the speed was measured with, in words."""
    return (
        f"{torch.get_num_threads()} thread(s) of {os.cpu_count()} cores, torch {torch.__version__}"
    )
