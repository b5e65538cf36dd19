"""What begins an epoch: features, pseudo labels, memory, a new loader; and its metrics."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm
from fastreid_compat.repairs.training.resume import epoch_seed

from ..clustering.quality import metrics
from ..data.images import TrainingImages
from ..data.loading import epoch_loader
from ..report.contact_sheet import draw_clusters
from ..report.exporting import write_pseudo_labels
from .extraction import extract_features
from .pseudo_labels import PseudoLabels, from_first_process, make_labels

logger = logging.getLogger(__name__)

SHEETS, TABLE = "clusters", "pseudo_labels.csv"


class PseudoLabelHook(HookBase):
    """Makes the pseudo labels of each epoch, and writes their metrics with those of its steps.

    Args:
        cfg: of the run.
        images: that are clustered.
        state: that the checkpoint holds.
    """

    def __init__(self, cfg: CfgNode, images: TrainingImages, state: PseudoLabels) -> None:
        self.cfg, self.images, self.state = cfg, images, state
        self.seed = cfg.SEED if cfg.get("SEED", -1) >= 0 else int(comm.shared_random_seed())
        self.metrics: dict[str, float] = {}

    def before_epoch(self) -> None:
        """Make the labels, memory and loader of an epoch; UserError if they are no use."""
        start, trainer, state = time.perf_counter(), self.trainer, self.state
        features = extract_features(self.cfg, trainer.model, self.images)
        made = from_first_process(
            lambda: make_labels(
                self.cfg, features, state.eps, self.images.cameras, self.images.tracklets
            )
        )
        before, (state.labels, state.eps, state.centres) = state.labels, made
        self.metrics = {
            **metrics(state.labels, before, self.images.identities, self.images.cameras),
            "eps": state.eps,
            "cluster_seconds": time.perf_counter() - start,
        }
        self._log()
        trainer.cluster_model.memory.begin(state.centres.to(trainer.cluster_model.device))
        seed = epoch_seed(self.seed, 0, trainer.epoch)  # the same on all ranks
        self._replace_loader(epoch_loader(self.cfg, self.images, state.labels, seed))
        if comm.is_main_process():
            self._report(features)

    def _replace_loader(self, loader: Any) -> None:
        inner = self.trainer._trainer
        getattr(inner.data_loader, "shutdown", lambda: None)()
        inner.data_loader, inner._data_loader_iter = loader, iter(loader)

    def _log(self) -> None:
        names = (name for name in self.metrics if name != "cluster_seconds")
        text = ", ".join(f"{name} {self.metrics[name]:.4g}" for name in names)
        logger.info("Pseudo labels of epoch %d: %s", self.trainer.epoch, text)

    def _report(self, features: torch.Tensor | None) -> None:
        """Write the table of labels, and every few epochs the contact sheet."""
        options, epoch, labels = self.cfg.CLUSTER, self.trainer.epoch, self.state.labels
        folder = Path(self.cfg.OUTPUT_DIR)
        assert features is not None and labels is not None
        if options.EXPORT:
            write_pseudo_labels(folder / TABLE, self.images, labels)
        period = options.REPORT_PERIOD
        last = epoch == self.trainer.max_epoch - 1
        if period and (epoch % period == 0 or last):
            out = folder / SHEETS / f"epoch_{epoch:04d}.png"
            draw_clusters(out, self.images, labels, f"clusters of epoch {epoch}")

    def after_step(self) -> None:
        """Put the epoch's metrics beside those of the step: writers keep the latest."""
        self.trainer.storage.put_scalars(**self.metrics, smoothing_hint=False)

    def after_train(self) -> None:
        """End the workers of the last loader."""
        getattr(self.trainer._trainer.data_loader, "shutdown", lambda: None)()
