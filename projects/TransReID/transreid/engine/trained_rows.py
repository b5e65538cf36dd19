"""Marks in the model which rows of its SIE table the training images train."""

from __future__ import annotations

import logging

import torch
from fastreid.engine.train_loop import HookBase
from reid_core.side_information.trained import trained_pairs

logger = logging.getLogger(__name__)


class TrainedRows(HookBase):
    """Before the first step, from the images that the loader has, those left by filters alone.

    Rows that are marked already, by the weights that the training starts from, stay marked.
    """

    def before_train(self) -> None:
        """Mark the rows; every process finds the same ones."""
        model = self.trainer.model
        sie = getattr(getattr(getattr(model, "module", model), "backbone", None), "sie", None)
        images = getattr(self.trainer.data_loader, "dataset", None)
        cameras, views = getattr(images, "cameras", None), getattr(images, "views", None)
        if sie is None or cameras is None or views is None:
            return
        ids = torch.tensor(cameras), torch.tensor(views)
        sie.mark_trained(trained_pairs(*ids, sie.num_cameras, sie.num_views))
        known = sie.known()
        if not known.all():
            logger.info(
                "SIE: %d of the %d rows have training images; the others count as unknown, "
                "MODEL.SIE.UNKNOWN is %s",
                *(int(known.sum()), known.numel(), sie.unknown),
            )
