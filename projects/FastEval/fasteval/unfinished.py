"""Evaluations that are interrupted: the features that were extracted are used by the next call.

While ``--eval-only`` extracts, features are written every half a minute to a folder that belongs to
this model, these images and what else they depend on; when the evaluation is finished it is
removed. How many processes extract, and in what batches, does not matter: a file says which images
it is about.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from fastreid.config import CfgNode
from fastreid.data import build
from fastreid.engine import DefaultTrainer
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm
from reid_common.errors import UserError
from reid_common.files import replacing
from torch import Tensor, nn

logger = logging.getLogger(__name__)

SAVE_SECONDS = 30.0
# Keys of MODEL that make no difference to a feature
_IRRELEVANT = ("DEVICE", "WEIGHTS", "LOSSES", "COMPILE")


def evaluate_model(
    cfg: CfgNode, model: nn.Module, trainer: type[DefaultTrainer] = DefaultTrainer
) -> Any:
    """Evaluate as ``trainer.test(cfg, model)``, going on where a call before was interrupted.

    A model without MODEL.WEIGHTS is another one in every run: nothing is kept of it, nor with
    TEST.FASTEVAL.RESUME False.
    """
    if not cfg.TEST.FASTEVAL.RESUME or not cfg.MODEL.WEIGHTS:
        return trainer.test(cfg, model)
    state = model_digest(cfg, model)
    root = Path(cfg.TEST.FASTEVAL.FEATURE_DIR or cfg.OUTPUT_DIR) / "unfinished_evaluation"
    begun: list[UnfinishedEvaluation] = []

    class Resuming(trainer):  # type: ignore[misc, valid-type]
        @classmethod
        def build_evaluator(
            cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None
        ) -> tuple[Any, DatasetEvaluator]:
            loader, evaluator = super().build_evaluator(cfg, dataset_name, output_dir)
            digest = _digest([state, *described_images(loader.dataset)])
            begun.append(UnfinishedEvaluation(evaluator, root / digest[:20], loader))
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
        """Keep a batch, and write what has come together in the last half a minute."""
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
            with replacing(self.folder / name) as temporary, open(temporary, "wb") as file:
                np.savez(file, **part)
        except UserError as error:
            logger.warning("An interruption would lose features: %s", error)
        self._unsaved = len(self._parts)

    def _read(self, own: Sequence[int]) -> list[dict[str, Any]]:
        """Read what the files hold of the images ``own``."""
        parts = []
        wanted = np.array(own)
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with np.load(path) as file:
                    rows = np.isin(file["indices"], wanted)
                    if rows.any():
                        parts.append({name: file[name][rows] for name in file.files})
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                logger.warning("%s cannot be read, its images are extracted anew: %s", path, error)
        return parts


def model_digest(cfg: CfgNode, model: nn.Module) -> str:
    """Hash of what a feature depends on besides the image: weights, buffers, config."""
    whole = yaml.safe_load(cfg.dump())
    settings = {
        "MODEL": {key: v for key, v in whole["MODEL"].items() if key not in _IRRELEVANT},
        "INPUT": whole["INPUT"],
        "FLIP": whole["TEST"]["FLIP"],
        "versions": torch.__version__,
    }
    state = model.state_dict()
    tensors = (state[name].detach().cpu().flatten().view(torch.uint8) for name in sorted(state))
    names = (f"{name} {tuple(state[name].shape)}" for name in sorted(state))
    text = json.dumps(settings, sort_keys=True)
    return _digest([text, *names, *(tensor.numpy() for tensor in tensors)])


def described_images(dataset: Any) -> Iterable[str]:
    """Yield what identifies the images of a data set and their order: names, ids, sizes, dates."""
    columns = (getattr(dataset, name, None) or [] for name in ("cameras", "views"))
    yield repr([list(column) for column in columns])
    for item in dataset.img_items:
        status = os.stat(item[0])
        yield f"{item} {status.st_size} {status.st_mtime_ns}"


def _digest(blocks: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block.encode() if isinstance(block, str) else block)
    return digest.hexdigest()


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Batches put together; a name that some of them lack is left out."""
    names = set(parts[0]).intersection(*parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in sorted(names)}


def _as_batch(column: np.ndarray) -> Tensor | list[str]:
    return column.tolist() if column.dtype.kind == "U" else torch.from_numpy(column)
