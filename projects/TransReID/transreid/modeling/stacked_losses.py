"""The losses of all branches of JPM at once.

Letters: B images, n branches (the global one, then the parts), D dimensions, C classes.
"""

from __future__ import annotations

from typing import Any

from fastreid.utils.events import get_event_storage
from fastreid_compat.repairs.modeling.losses import cross_entropy_loss, triplet_loss
from torch import Tensor

from .stacked_necks import StackedParts

# Names of MODEL.LOSSES.NAME that are known here; with others it is branch by branch.
BATCHED = frozenset({"CrossEntropyLoss", "TripletLoss"})


def stacked_losses(
    parts: StackedParts, targets: Tensor, options: dict[str, Any]
) -> dict[str, Tensor]:
    """Each loss of FastReID's Baseline, of every branch; their accuracies go to the storage.

    Args:
        parts: with tensors "cls_outputs" and "pred_class_logits" (n, B, C), "features" (n, B, D).
        targets: (B,).
        options: ``loss_kwargs`` of Baseline; its loss names are in :data:`BATCHED`.

    Returns:
        "loss_cls" and "loss_triplet", those that are named; (n,) each.
    """
    tensors = {name: tensor.float() for name, tensor in parts.tensors.items()}
    losses: dict[str, Tensor] = {}
    correct = tensors["pred_class_logits"].detach().argmax(-1) == targets
    accuracy, storage = correct.float().mean(-1), get_event_storage()
    storage.put_scalar("local/cls_accuracy", accuracy[1:].mean())
    storage.put_scalar("cls_accuracy", accuracy[0])
    if "CrossEntropyLoss" in options["loss_names"]:
        ce = options["ce"]
        values = cross_entropy_loss(tensors["cls_outputs"], targets, ce["eps"], ce["alpha"])
        losses["loss_cls"] = _scaled(values, ce["scale"])
    if "TripletLoss" in options["loss_names"]:
        tri = options["tri"]
        choices = tri["margin"], tri["norm_feat"], tri["hard_mining"]
        values = triplet_loss(tensors["features"], targets, *choices)
        losses["loss_triplet"] = _scaled(values, tri["scale"])
    return losses


def weighted_losses(
    losses: dict[str, Tensor], global_weight: float, local_weight: float
) -> dict[str, Tensor]:
    """Of losses of all branches (n,) the weighted first one, and mean of the others: scalars.

    The names of the latter end in "_local", and come first.
    """
    own, parts = {}, {}
    for name, loss in losses.items():
        first, rest = loss.split((1, len(loss) - 1))
        own[name] = _scaled(first.squeeze(0), global_weight)
        parts[f"{name}_local"] = _scaled(rest.mean(), local_weight)
    return parts | own


def _scaled(loss: Tensor, factor: float) -> Tensor:
    return loss if factor == 1 else factor * loss
