"""Tells a model, before the first step, what its training images are of."""

from __future__ import annotations

from typing import Any

from fastreid.engine import train_loop
from fastreid_compat.registry import Original, fix, replaces


@fix(
    where="engine/train_loop.py:155",
    symptom="a model does not know which cameras and viewpoints its training images have",
)
@replaces(train_loop.TrainerBase, "before_train")
def models_know_their_training_images(original: Original, self: Any) -> None:
    """Call ``note_training_images(cameras, views)`` of each part of the model that has it.

    It gets the row of each training image's camera and its viewpoint, negative = unknown, of those
    that DATASETS.FILTERS keep. The weights, or the checkpoint that is resumed, are loaded by then.
    """
    dataset = getattr(getattr(self, "data_loader", None), "dataset", None)
    cameras, views = (getattr(dataset, name, None) for name in ("cameras", "views"))
    model = getattr(self, "model", None)
    if cameras is not None and views is not None and model is not None:
        for part in model.modules():
            if hasattr(part, "note_training_images"):
                part.note_training_images(cameras, views)
    original(self)
