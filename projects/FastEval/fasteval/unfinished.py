"""Evaluations that are interrupted: the features that were extracted are used by the next call.

While ``--eval-only`` extracts, features are written every half a minute to a folder that belongs to
this model, these images and what else they depend on; when the evaluation is finished it is
removed. How many processes extract, and in what batches, does not matter: a file says which images
it is about, unlike those of :class:`reid_common.shards.Shards`, whose ranges are fixed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data import build
from fastreid.engine import DefaultTrainer
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm
from reid_common.column_files.npz import read_npz
from reid_common.digests import digest, images_digest
from reid_common.errors import UserError
from reid_common.shards import write_arrays
from reid_core.run.feature_inputs import relevant_config, state_digest
from torch import Tensor, nn

logger = logging.getLogger(__name__)

SAVE_SECONDS = 30.0


def evaluate_model(
    cfg: CfgNode, model: nn.Module, trainer: type[DefaultTrainer] = DefaultTrainer
) -> Any:
    """Evaluate as ``trainer.test(cfg, model)``, resuming where an earlier call was interrupted.

    A model without MODEL.WEIGHTS is another one in every run: nothing is kept of it, nor with
    TEST.FASTEVAL.RESUME False.
    """
    if not cfg.TEST.FASTEVAL.RESUME or not cfg.MODEL.WEIGHTS:
        return trainer.test(cfg, model)
    config = json.dumps(relevant_config(cfg), sort_keys=True)
    state = (config, torch.__version__, state_digest(model))
    root = Path(cfg.TEST.FASTEVAL.FEATURE_DIR or cfg.OUTPUT_DIR) / "unfinished_evaluation"
    begun: list[UnfinishedEvaluation] = []

    class Resuming(trainer):  # type: ignore[misc, valid-type]
        @classmethod
        def build_evaluator(
            cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None
        ) -> tuple[Any, DatasetEvaluator]:
            loader, evaluator = super().build_evaluator(cfg, dataset_name, output_dir)
            name = digest([*state, images_digest(_described_images(loader.dataset))])[:20]
            begun.append(UnfinishedEvaluation(evaluator, root / name, loader))
            return begun[-1].remaining_loader(), begun[-1]

    try:
        return Resuming.test(cfg, model)
    except BaseException:
        if begun:
            begun[-1].save()
        raise


class UnfinishedEvaluation(DatasetEvaluator):
    """Another evaluator, whose features are kept in files until it has finished.

    Args:
        evaluator: evaluates once. It gets all images of this process in one batch, in their order.
        folder: where the files are.
        loader: loader of the test images of this process, with a ``batch_sampler``.
    """

    def __init__(self, evaluator: DatasetEvaluator, folder: Path, loader: Any) -> None:
        self.evaluator, self.folder, self.loader = evaluator, folder, loader
        batches = [list(batch) for batch in loader.batch_sampler]
        own = [index for batch in batches for index in batch]
        self._done = self._read(own)
        known = {index for part in self._done for index in part["indices"].tolist()}
        left = [index for index in own if index not in known]
        size = max(map(len, batches), default=1)
        self.batches = [left[start : start + size] for start in range(0, len(left), size)]
        self.reset()
        if known:
            logger.info("%d of %d images are extracted already", len(known), len(own))

    def remaining_loader(self) -> Any:
        """Return a loader of the images that are not extracted yet."""
        return build.DataLoaderX(
            self.loader.local_rank,
            dataset=self.loader.dataset,
            batch_sampler=self.batches,
            num_workers=self.loader.num_workers,
            collate_fn=self.loader.collate_fn,
            pin_memory=self.loader.pin_memory,
        )

    def reset(self) -> None:
        """Begin with the images that are not extracted yet."""
        self.evaluator.reset()
        self._next = 0
        self._parts: list[dict[str, Any]] = []
        self._unsaved = 0  # parts from here on are in no file
        self._saved_at = time.monotonic()

    def process(self, inputs: Mapping[str, Any], outputs: Tensor) -> None:
        """Keep a batch, and write the batches of the last half a minute."""
        # Copies: a tensor of a loader's worker lies in shared memory and keeps a file open.
        part: dict[str, Any] = {
            name: np.array(value.cpu()) if isinstance(value, Tensor) else np.array(value, np.str_)
            for name, value in inputs.items()
            if name != "images" and isinstance(value, (Tensor, list))
        }
        part["features"] = outputs.to("cpu", torch.float32).numpy()
        part["indices"] = np.array(self.batches[self._next], np.int64)
        self._next += 1
        self._parts.append(part)
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def evaluate(self) -> dict[str, float] | None:
        """Let the evaluator evaluate all images of all processes; then remove the files."""
        self.save()
        parts = self._done + self._parts
        self._done, self._parts, self._unsaved = [], [], 0
        if parts:
            batch = _joined(parts)
            parts.clear()
            order = np.argsort(batch.pop("indices"))
            features = torch.from_numpy(batch.pop("features")[order])
            self.evaluator.process({k: _as_batch(v[order]) for k, v in batch.items()}, features)
        results = self.evaluator.evaluate()
        # The first process has everything now, the others write no more.
        if comm.is_main_process():
            shutil.rmtree(self.folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.folder.parent.rmdir()  # if this was the last one
        return results

    def save(self) -> None:
        """Write what is in no file yet."""
        self._saved_at = time.monotonic()
        if self._unsaved == len(self._parts):
            return
        part = _joined(self._parts[self._unsaved :])
        name = f"{part['indices'][0]:08d}-{len(part['indices'])}.npz"
        try:
            write_arrays(self.folder / name, part)
        except UserError as error:
            logger.warning("An interruption would lose features: %s", error)
        self._unsaved = len(self._parts)

    def _read(self, own: Sequence[int]) -> list[dict[str, Any]]:
        """Read what the files hold of the images ``own``."""
        parts = []
        wanted = np.array(own)
        for path in sorted(self.folder.glob("*.npz")):
            try:
                part = read_npz(path, ("indices", "features"), optional=None)
            except UserError as error:
                logger.warning("%s: its images are extracted again", error)
                continue
            rows = np.isin(part["indices"], wanted)
            if rows.any():
                parts.append({name: column[rows] for name, column in part.items()})
        return parts


def _described_images(dataset: Any) -> Iterator[tuple[Any, ...]]:
    """Yield (path, ids) of each image of a data set."""
    columns = [getattr(dataset, name, None) for name in ("cameras", "views")]
    for index, item in enumerate(dataset.img_items):
        ids = [int(column[index]) for column in columns if column is not None and len(column)]
        yield (*map(str, item), *ids)


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Batches put together; a name that some of them lack is left out."""
    names = set(parts[0]).intersection(*parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in sorted(names)}


def _as_batch(column: np.ndarray) -> Tensor | list[str]:
    return column.tolist() if column.dtype.kind == "U" else torch.from_numpy(column)
