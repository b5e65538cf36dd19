"""The losses of all branches of JPM at once, or of the one branch of another head.

Letters: B images, n branches (the global one, then the parts), D dimensions, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastreid.utils.events import get_event_storage
from fastreid_compat.repairs.modeling.losses import cross_entropy_loss, triplet_loss
from torch import Tensor, nn

# Names of MODEL.LOSSES.NAME that are known here; with others it is branch by branch.
BATCHED = frozenset({"CrossEntropyLoss", "TripletLoss"})


class StackedLosses(nn.Module):
    """Each loss of FastReID's Baseline, of every branch, weighted.

    A module, without state, so that it can be compiled.

    Args:
        options: ``loss_kwargs`` of Baseline; its loss names are in :data:`BATCHED`.
        global_weight: of the losses of the first branch.
        local_weight: of the means of those of the others.
    """

    def __init__(
        self, options: Mapping[str, Any], global_weight: float, local_weight: float
    ) -> None:
        super().__init__()
        self.options = options
        self.global_weight, self.local_weight = global_weight, local_weight

    def forward(
        self, tensors: Mapping[str, Tensor], targets: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses and accuracies.

        Args:
            tensors: "cls_outputs" and "pred_class_logits" (n, B, C), "features" (n, B, D).
            targets: (B,).

        Returns:
            "loss_cls_local" and "loss_triplet_local" of the parts, if there are any, "loss_cls" and
            "loss_triplet" of the first branch, scalars; those that are named. Accuracies (n,).
        """
        correct = tensors["pred_class_logits"].detach().argmax(-1) == targets
        losses = self._of_branches(tensors, targets)
        return self._weighted(losses), correct.float().mean(-1)

    def _of_branches(self, tensors: Mapping[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """Losses (n,) by name."""
        names, losses = self.options["loss_names"], {}
        if "CrossEntropyLoss" in names:
            ce, logits = self.options["ce"], tensors["cls_outputs"].float()
            values = cross_entropy_loss(logits, targets, ce["eps"], ce["alpha"])
            losses["loss_cls"] = _scaled(values, ce["scale"])
        if "TripletLoss" in names:
            tri, features = self.options["tri"], tensors["features"].float()
            choices = tri["margin"], tri["norm_feat"], tri["hard_mining"]
            losses["loss_triplet"] = _scaled(
                triplet_loss(features, targets, *choices), tri["scale"]
            )
        return losses

    def _weighted(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own, parts = {}, {}
        for name, loss in losses.items():
            first, *rest = loss.split((1, len(loss) - 1)) if len(loss) > 1 else (loss,)
            own[name] = _scaled(first.squeeze(0), self.global_weight)
            if rest:
                parts[f"{name}_local"] = _scaled(rest[0].mean(), self.local_weight)
        return parts | own


def put_accuracies(accuracies: Tensor) -> None:
    """Put the accuracies (n,) of all branches into the storage, as they are: on the device."""
    storage = get_event_storage()
    if len(accuracies) > 1:
        storage.put_scalar("local/cls_accuracy", accuracies[1:].mean())
    storage.put_scalar("cls_accuracy", accuracies[0])


def _scaled(loss: Tensor, factor: float) -> Tensor:
    return loss if factor == 1 else factor * loss
