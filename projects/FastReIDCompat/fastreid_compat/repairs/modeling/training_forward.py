"""The training passes of FastReID's models: the caller's targets stay, and nothing waits for them.

FastReID's precise BN runs on another data set, whose classes mean nothing to the model, and marks
its batches by negative targets. The released models ask the device for the sum of the targets in
every step to find out.

Shapes: images (B, C, H, W), targets (B,) with 0-based identities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from fastreid.modeling.meta_arch import baseline, distiller, mgn
from torch import Tensor

from ...registry import fix, source_has

# Of MGN, in the order of its feature; b1 is global, b2 and b3 are cut into two and three stripes.
MGN_BRANCHES = ("b1", "b2", "b3")
MGN_PARTS = ("b1", "b2", "b3", "b21", "b22", "b31", "b32", "b33")
MGN_LOSSES = ("b1", "b2", "b21", "b22", "b3", "b31", "b32", "b33")


def own_targets(batch: Any, device: torch.device) -> Tensor:
    """The targets of a batch on ``device``; zeros where they are of precise BN.

    Raises:
        ValueError: the batch has none.
    """
    if "targets" not in batch:
        raise ValueError("training needs 'targets' (identity labels) in the batch")
    targets = batch["targets"].to(device)
    return torch.where(targets.sum() < 0, 0, targets)


def _baseline(self: Any, batched_inputs: Any) -> Any:
    features = self.backbone(self.preprocess_image(batched_inputs))
    if not self.training:
        return self.heads(features)
    targets = own_targets(batched_inputs, features.device)
    return self.losses(self.heads(features, targets), targets)


def _mgn(self: Any, batched_inputs: Any) -> Any:
    features = self.backbone(self.preprocess_image(batched_inputs))
    maps = {name: getattr(self, name)(features) for name in MGN_BRANCHES}
    return mgn_of_maps(self, maps, batched_inputs)


def mgn_of_maps(model: Any, maps: Mapping[str, Tensor], batched_inputs: Any) -> Any:
    """Losses or features of an MGN from the maps (B, C, h, w) of its branches, by their names."""
    parts = dict(maps)
    for name, count in (("b2", 2), ("b3", 3)):
        for number, stripe in enumerate(torch.chunk(parts[name], count, dim=2), 1):
            parts[f"{name}{number}"] = stripe
    heads = {name: getattr(model, f"{name}_head") for name in MGN_PARTS}
    if not model.training:
        return torch.cat([heads[name](parts[name]) for name in MGN_PARTS], dim=1)
    targets = own_targets(batched_inputs, parts["b1"].device)
    outputs = [heads[name](parts[name], targets) for name in MGN_LOSSES]
    return model.losses(*outputs, targets)


def _distiller(self: Any, batched_inputs: Any) -> Any:
    if not self.training:
        return _baseline(self, batched_inputs)
    images = self.preprocess_image(batched_inputs)
    features = self.backbone(images)
    targets = own_targets(batched_inputs, features.device)
    outputs = self.heads(features, targets)
    with torch.no_grad():
        if self.ema_enabled:
            self._momentum_update_key_encoder(self.ema_momentum)
        teachers = [teacher.heads(teacher.backbone(images), targets) for teacher in self.model_ts]
    return self.losses(outputs, teachers, targets)


@fix(
    where="modeling/meta_arch/baseline.py:110, mgn.py:215, distiller.py:93",
    symptom="negative targets (PreciseBN) become 0 in the caller's batch; GPUs wait for their sum",
)
def targets_unchanged() -> bool:
    """Choose zeros for the targets of precise BN in a copy of them, on the models' device."""
    changed = False
    for cls, forward in (
        (baseline.Baseline, _baseline),
        (mgn.MGN, _mgn),
        (distiller.Distiller, _distiller),
    ):
        if source_has(cls.forward, "targets.zero_()"):
            cls.forward = forward
            changed = True
    return changed
