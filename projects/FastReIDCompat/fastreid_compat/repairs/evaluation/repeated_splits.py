"""Protocols that test several times: other queries and gallery each time, the same features.

VehicleID (Liu et al., "Deep Relative Distance Learning", CVPR 2016): of each test vehicle one
image, drawn at random, is the gallery and the others are queries; figures are usually means over 10
draws. FastReID draws once. A data set class declares such a protocol with ``num_repeats`` and the
static method ``test_split(pids, seed)``.
"""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fastreid.data.datasets import vehicleid
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm

from ...registry import fix

logger = logging.getLogger(__name__)

Split = tuple[np.ndarray, np.ndarray]  # rows of the queries, rows of the gallery
SPREAD_OF = ("mAP", "Rank-1", "Rank-5")


def one_gallery_image(pids: np.ndarray, seed: int) -> Split:
    """Split test images by VehicleID's protocol.

    Args:
        pids: (N,) identities of all test images.
        seed: of the draw; the same seed gives the same split everywhere.

    Returns:
        Rows of the queries and of the gallery, ascending, which together are all N. An identity
        with one image has it in the gallery.
    """
    shuffled = np.random.default_rng(seed).permutation(len(pids))
    _, first = np.unique(pids[shuffled], return_index=True)
    gallery = np.sort(shuffled[first])
    return np.setdiff1d(np.arange(len(pids)), gallery), gallery


class RepeatedEvaluator(DatasetEvaluator):
    """Mean and spread of another evaluator's results over several splits of one test set.

    Features are extracted once. With several processes each split is ranked on the first.

    Args:
        split: (identities (N,), seed) -> rows of queries and gallery.
        num_repeats: number of splits, at least 2; their seeds are 0, 1, ....
        make: number of queries -> the evaluator of one split.
    """

    def __init__(
        self,
        split: Callable[[np.ndarray, int], Split],
        num_repeats: int,
        make: Callable[[int], DatasetEvaluator],
    ) -> None:
        if num_repeats < 2:
            raise ValueError(f"a spread needs at least 2 splits, got num_repeats={num_repeats}")
        self.split, self.num_repeats, self.make = split, num_repeats, make
        self.batches: list[dict[str, torch.Tensor]] = []

    def reset(self) -> None:
        """Forget the features of an evaluation before."""
        self.batches = []

    def process(self, inputs: dict[str, Any], outputs: torch.Tensor) -> None:
        """Keep features (B, D), identities and cameras of a batch, on the CPU."""
        batch = {"targets": inputs["targets"], "camids": inputs["camids"], "features": outputs}
        self.batches.append({name: value.cpu() for name, value in batch.items()})

    def evaluate(self) -> dict[str, float]:
        """Return the means, and the standard deviations (n - 1) as "mAP_std", "Rank-1_std", ....

        Every process calls it; all but the first get {}.
        """
        everything = self._gathered()
        results = [self._evaluate_split(everything, seed) for seed in range(self.num_repeats)]
        if not comm.is_main_process():
            return {}
        mean = OrderedDict(
            (name, float(np.mean([r[name] for r in results]))) for name in results[0]
        )
        for name in SPREAD_OF:
            if name in mean:
                mean[f"{name}_std"] = float(np.std([r[name] for r in results], ddof=1))
        logger.info("The figures are means over %d splits of the test set", self.num_repeats)
        return mean

    def _gathered(self) -> dict[str, torch.Tensor]:
        """All test images on the first process, nothing on the others."""
        batches = self.batches
        if comm.get_world_size() > 1:
            comm.synchronize()
            batches = list(itertools.chain(*comm.gather(batches, dst=0)))
        if not batches:
            return {}
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}

    def _evaluate_split(self, everything: dict[str, torch.Tensor], seed: int) -> dict[str, float]:
        queries = gallery = np.empty(0, dtype=np.int64)
        if everything:
            queries, gallery = self.split(everything["targets"].numpy(), seed)
        evaluator = self.make(len(queries))
        evaluator.reset()
        if everything:
            rows = torch.from_numpy(np.concatenate([queries, gallery]))
            batch = {name: value[rows] for name, value in everything.items()}
            evaluator.process(batch, batch.pop("features"))
        return evaluator.evaluate() or {}


@fix(
    where="data/datasets/vehicleid.py:68-82",
    symptom="VehicleID: one random draw of the gallery decides; its protocol is the mean of 10",
)
def vehicleid_protocol() -> bool:
    """Declare VehicleID's 10 draws, for all sizes of its test set."""
    if hasattr(vehicleid.VehicleID, "num_repeats"):
        return False
    vehicleid.VehicleID.num_repeats = 10
    vehicleid.VehicleID.test_split = staticmethod(one_gallery_image)
    return True
