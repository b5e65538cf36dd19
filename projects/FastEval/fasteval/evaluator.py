"""The evaluator that TEST.EVALUATOR names: FastReID's figures, in little memory.

It takes the place of FastReID's ``ReidEvaluator`` and returns its results under its names. Letters:
N images, D dimensions.
"""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fastreid.config import CfgNode, configurable
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm
from reid_core.run.evaluators import EVALUATOR_REGISTRY
from torch import Tensor

from .evaluation import Evaluation, evaluate_features
from .options import Options, options_from_config
from .results.meta import settings_of
from .results.result_set import ResultSet, results_name, write_results

logger = logging.getLogger(__name__)

IDS = {"pids": "targets", "camids": "camids", "viewids": "viewids"}  # column -> key of a batch


@EVALUATOR_REGISTRY.register()
class FastEvaluator(DatasetEvaluator):
    """Ranks in blocks of queries, on the first process.

    Args:
        num_query: number of queries, which come first.
        options: what is evaluated.
        save_format: "npz" or "parquet": a results file is written as well; "" = none.
        folder: where it is written.
        meta: what the results file says about the run, as JSON can hold it.
    """

    # Of make_evaluator. Results of a protocol of several splits have none, and are not saved.
    dataset_name = ""

    @configurable
    def __init__(
        self,
        num_query: int,
        options: Options | None = None,
        save_format: str = "",
        folder: str | Path = "",
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self.num_query = num_query
        self.options = options or Options()
        self.save_format, self.folder = save_format, Path(folder)
        self.meta = dict(meta or {})
        self.reset()

    @classmethod
    def from_config(
        cls, cfg: CfgNode, num_query: int, output_dir: str | None = None
    ) -> dict[str, Any]:
        """Arguments from TEST, MODEL.DEVICE and OUTPUT_DIR."""
        return {
            "num_query": num_query,
            "options": options_from_config(cfg),
            "save_format": cfg.TEST.FASTEVAL.SAVE_RESULTS,
            "folder": output_dir or cfg.OUTPUT_DIR,
            "meta": {"evaluation": settings_of(cfg), "weights": cfg.MODEL.WEIGHTS},
        }

    def reset(self) -> None:
        """Forget the features of an evaluation before."""
        self._features: list[Tensor] = []
        self._ids: dict[str, list[Tensor]] = {column: [] for column in IDS}
        self._paths: list[str] = []

    def process(self, inputs: Mapping[str, Any], outputs: Tensor) -> None:
        """Keep the features (B, D) of a batch.

        Its "targets" (B,) are identities; "camids" (B,) must be there, "viewids" (B,) and
        "img_paths", B of them, may.
        """
        # Copies of ids: those of a loader's worker lie in shared memory and keep a file open.
        count = len(outputs)
        self._features.append(outputs.to("cpu", torch.float32))
        for column, key in IDS.items():
            ids = inputs.get(key) if column == "viewids" else inputs[key]
            ids = torch.full((count,), -1) if ids is None else ids.to("cpu", torch.int64, copy=True)
            self._ids[column].append(ids)
        self._paths.extend(inputs.get("img_paths") or [""] * count)

    def evaluate(self) -> dict[str, float]:
        """Return FastReID's results (see :meth:`Evaluation.figures`); {} but on the first process.

        Raises:
            UserError: no query has a match, or the results file cannot be written.
        """
        results = self._gathered()
        if results is None:
            return {}
        evaluation = evaluate_features(
            results.features, results.pids, results.camids, self.num_query, self.options
        )
        figures = evaluation.figures()
        ignored = evaluation.ranking.num_ignored
        if ignored:
            message = "%d of the %d queries have no match in the gallery and are ignored"
            logger.info(message, ignored, self.num_query)
        if self.save_format:
            self._save(results, evaluation, figures)
        return OrderedDict(figures)  # FastReID's table insists

    def _gathered(self) -> ResultSet | None:
        """What all processes have seen, on the first one."""
        features = gather_rows(_joined(self._features, torch.empty(0, 0)))
        no_ids = torch.empty(0, dtype=torch.int64)
        ids = {name: gather_rows(_joined(parts, no_ids)) for name, parts in self._ids.items()}
        paths = comm.gather(self._paths, dst=0) if comm.get_world_size() > 1 else [self._paths]
        if features is None:
            return None
        columns = {name: column.numpy() for name, column in ids.items() if column is not None}
        viewids = columns["viewids"]
        return ResultSet(
            features=features.numpy(),
            pids=columns["pids"],
            camids=columns["camids"],
            num_query=self.num_query,
            paths=list(itertools.chain(*paths)),
            viewids=viewids if (viewids >= 0).any() else None,
        )

    def _save(self, results: ResultSet, evaluation: Evaluation, figures: dict[str, float]) -> None:
        if not self.dataset_name:
            logger.warning("Results are saved of tests of a single split only: none are saved")
            return
        path = self.folder / results_name(self.dataset_name, self.save_format)
        results.topk_indices = evaluation.topk_indices
        results.topk_distances = evaluation.topk_distances
        results.meta = {**self.meta, "dataset": self.dataset_name, "scores": figures}
        write_results(path, results)
        logger.info("Features and ranking are saved in %s; see tools/evaluate.py", path)


def _joined(parts: list[Tensor], nothing: Tensor) -> Tensor:
    """Put the parts together, and in the list's place, so that they are in memory once."""
    if not parts:
        return nothing
    if len(parts) > 1:
        parts[:] = [torch.cat(parts)]
    return parts[0]


def gather_rows(rows: Tensor) -> Tensor | None:
    """Put the rows of all processes together on the first one, in the order of their ranks.

    FastReID gathers pickled lists: while it does so the first process holds the features as bytes,
    as the lists of each process and as one tensor. Here it receives rows in their place.

    All processes must call it, with rows (n, ...) on the CPU; n may differ and be 0, and what
    follows n only matters where n > 0. The others return None.
    """
    if comm.get_world_size() == 1:
        return rows
    shapes = comm.all_gather(tuple(rows.shape))
    group = comm._get_global_gloo_group()
    rows = rows.contiguous()
    if not comm.is_main_process():
        if len(rows):
            dist.send(rows, dst=0, group=group)
        return None
    filled = [shape for shape in shapes if shape[0]]
    tail = filled[0][1:] if filled else rows.shape[1:]
    everything = torch.empty((sum(shape[0] for shape in filled), *tail), dtype=rows.dtype)
    everything[: len(rows)] = rows
    end = len(rows)
    for source, shape in enumerate(shapes):
        if source and shape[0]:
            dist.recv(everything[end : end + shape[0]], src=source, group=group)
            end += shape[0]
    return everything
