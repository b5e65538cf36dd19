"""From features to the pseudo labels and memory of an epoch, on one process and for all.

Letters: N images, M clusters, D dimensions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from fasteval.distances.close_pairs import close_pairs
from fastreid.config import CfgNode
from fastreid.utils import comm
from reid_common.errors import UserError
from reid_core.data.tracklets import Tracklets
from scipy import sparse
from torch import Tensor

from ..clustering.cameras import centred_by_camera
from ..clustering.check import check_labels
from ..clustering.choosing_eps import CANDIDATES, choose_eps, format_table
from ..clustering.methods import CLUSTERING_REGISTRY
from ..clustering.tracklets import constrain_distances, constrain_labels
from ..config import AUTO, RELEASED_EPS
from ..data.samplers import check_clusters
from ..memory.cluster_memory import cluster_centres

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class PseudoLabels:
    """The state of the pseudo labels, which a checkpoint holds.

    Attributes:
        labels: (N,) int64 of the last epoch, -1 for outliers; None before the first.
        eps: that clusters are made with; None until ``auto`` has chosen it.
        centres: (M, D), the memory at the start of that epoch.
        memory: () -> (M, D), the memory as it is now.
    """

    def __init__(self, eps: float | None, memory: Callable[[], Tensor]) -> None:
        self.labels: np.ndarray | None = None
        self.eps, self.memory = eps, memory
        self.centres = torch.empty(0, 0)

    def state_dict(self) -> dict[str, Any]:
        """Labels, eps and memory; text and tensors only."""
        labels = None if self.labels is None else torch.from_numpy(self.labels)
        rows = self.memory().detach().cpu().clone()
        return {"labels": labels, "eps": self.eps, "centres": self.centres, "memory": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the labels, to compare the next ones with, and the eps that was chosen."""
        labels = state["labels"]
        self.labels = None if labels is None else labels.numpy()
        self.centres = state["centres"]
        self.eps = state["eps"] if self.eps is None else self.eps  # the config's own counts


def from_first_process(make: Callable[[], Result]) -> Result:
    """What ``make`` returns on the first process, on all of them; a UserError is raised on all."""
    found: tuple[Any, str] = (None, "")
    if comm.is_main_process():
        try:
            found = make(), ""
        except UserError as error:
            found = None, str(error)
    if comm.get_world_size() > 1:
        found = comm.all_gather(found)[0]
    if found[1]:
        raise UserError(found[1])
    return found[0]


def first_eps(cfg: CfgNode) -> float | None:
    """Eps of a config; None where it is to be chosen."""
    eps = cfg.CLUSTER.EPS
    return None if eps == AUTO else RELEASED_EPS if eps is None else float(eps)


def make_labels(
    cfg: CfgNode,
    features: Tensor | None,
    eps: float | None,
    cameras: np.ndarray,
    tracklets: Tracklets | None = None,
) -> tuple[np.ndarray, float, Tensor]:
    """Cluster the features (N, D), of length 1, of images under ``cameras`` (N,).

    Returns:
        Labels (N,), the eps (chosen where ``eps`` is None), and the centres (M, D).

    Raises:
        UserError: clusters that nothing can be learnt from, or too few for a batch.
    """
    options, start = cfg.CLUSTER, time.perf_counter()
    method = CLUSTERING_REGISTRY.get(options.METHOD)
    limit = max(CANDIDATES) if eps is None else eps
    assert features is not None  # on the first process they are there
    compared = centred_by_camera(features, cameras) if options.CENTRE_CAMERAS else features
    distances = close_pairs(compared.to(cfg.MODEL.DEVICE), limit, options.K1, options.K2)
    if tracklets is not None:
        distances = constrain_distances(distances, tracklets)
    if eps is None:
        eps = _choose(cfg, distances, method)
    labels = method(distances, eps, options.MIN_SAMPLES)
    if tracklets is not None:
        labels = constrain_labels(labels, tracklets, options.MIN_SAMPLES)
    seconds = time.perf_counter() - start
    logger.info("Clusters of %d images (%d pairs): %.1f s", len(labels), distances.nnz, seconds)
    check_labels(labels, eps, options.MAX_OUTLIERS)
    sizes = np.bincount(labels[labels >= 0]).tolist()
    check_clusters(sizes, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE)
    return labels, eps, cluster_centres(features, torch.from_numpy(labels))


def _choose(cfg: CfgNode, distances: sparse.csr_array, method: Any) -> float:
    """Choose eps and show the table."""
    options = cfg.CLUSTER
    needed = -(-cfg.SOLVER.IMS_PER_BATCH // cfg.DATALOADER.NUM_INSTANCE)
    eps, table = choose_eps(distances, method, options.MIN_SAMPLES, needed)
    logger.info(
        "CLUSTER.EPS auto takes %g, the highest score, for the whole run:\n%s",
        eps,
        format_table(table),
    )
    return eps
