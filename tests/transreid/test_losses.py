"""Every classifier and every loss of FastReID on every branch."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.utils.events import EventStorage
from torch import Tensor
from transreid import BNNeck, BNNeckHead, JPMHead, TransReID, TransReIDBackbone
from transreid.modeling.bnneck import CLASSIFIERS

CLASSES, DIM = 4, 192
METRIC_LOSSES = {
    "TripletLoss": "loss_triplet",
    "CircleLoss": "loss_circle",
    "Cosface": "loss_cosface",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "ce": {"eps": 0.1, "alpha": 0.2, "scale": 1.0},
    "tri": {"margin": 0.0, "norm_feat": False, "hard_mining": True, "scale": 1.0},
    "circle": {"margin": 0.25, "gamma": 32, "scale": 1.0},
    "cosface": {"margin": 0.25, "gamma": 32, "scale": 1.0},
}


def build(
    head: type[JPMHead] | type[BNNeckHead],
    losses: tuple[str, ...],
    cls_type: str = "Linear",
    neck_feat: str = "before",
) -> TransReID:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=2)
    heads = head(
        feat_dim=DIM,
        num_classes=CLASSES,
        cls_type=cls_type,
        scale=1 if cls_type == "Linear" else 16,
        margin=0.25,
        neck_feat=neck_feat,
    )
    model = TransReID(
        backbone=TransReIDBackbone(vit, (64, 32), (16, 16)),
        heads=heads,
        pixel_mean=[127.5] * 3,
        pixel_std=[127.5] * 3,
        loss_kwargs={"loss_names": losses, **SETTINGS},
        global_weight=0.5,
        local_weight=2.0,
    )
    return model.train()


def batch() -> dict[str, Tensor]:
    return {"images": torch.rand(8, 3, 64, 32) * 255, "targets": torch.arange(8) // 2}


@pytest.mark.parametrize("head", [JPMHead, BNNeckHead])
@pytest.mark.parametrize("cls_type", list(CLASSIFIERS))
@pytest.mark.parametrize("metric", [[name] for name in METRIC_LOSSES] + [[*METRIC_LOSSES]], ids=str)
def test_losses_of_all_branches(head: type, cls_type: str, metric: list[str]) -> None:
    model = build(head, ("CrossEntropyLoss", *metric), cls_type)
    branches: list[dict[str, Tensor]] = []
    model.heads.register_forward_hook(
        lambda module, inputs, out: branches.extend([out, *out.get("local", [])])
    )
    data = batch()
    with EventStorage(0):
        losses = model(data)
        each = [Baseline.losses(model, branch, data["targets"]) for branch in branches]
    names = {"loss_cls", *(METRIC_LOSSES[name] for name in metric)}
    local = {f"{name}_local" for name in names} if head is JPMHead else set()
    assert set(losses) == names | local
    assert len(branches) == (5 if head is JPMHead else 1)

    # The weighted mean over the branches, as a loop.
    for name in names:
        torch.testing.assert_close(losses[name], 0.5 * each[0][name])
        if local:
            total = torch.zeros(())
            for branch in each[1:]:
                total = total + branch[name]
            torch.testing.assert_close(losses[f"{name}_local"], 2.0 * total / 4)

    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("loss", list(METRIC_LOSSES))
def test_metric_losses_after_the_neck(loss: str) -> None:
    """NECK_FEAT after: the metric losses get other features, and the BN's weight their gradient."""
    torch.manual_seed(0)
    data, values = batch(), []
    state = None
    for neck_feat in ("before", "after"):
        model = build(JPMHead, (loss,), neck_feat=neck_feat)
        state = state or model.state_dict()
        model.load_state_dict(state)
        with EventStorage(0):
            losses = model(data)
        torch.stack(list(losses.values())).sum().backward()
        gradient = model.heads.necks[1].bottleneck.weight.grad
        assert (gradient is not None) == (neck_feat == "after")
        values.append(losses[METRIC_LOSSES[loss]].item())
    assert values[0] != pytest.approx(values[1])


@pytest.mark.parametrize("cls_type", ["AMSoftmax", "CosSoftmax"])
def test_am_softmax_by_its_equation(cls_type: str) -> None:
    """-log of e^(s (cos_y - m)) / (e^(s (cos_y - m)) + sum over the others of e^(s cos_j))."""
    scale, margin = 16.0, 0.35
    neck = BNNeck(6, CLASSES, cls_type, scale, margin)
    features, targets = torch.randn(5, 6), torch.tensor([0, 3, 1, 1, 2])
    outputs = neck.logits(features, targets)
    weight = neck.classifier.weight
    total = 0.0
    for feature, target in zip(features, targets.tolist(), strict=True):
        cosines = [F.cosine_similarity(feature, row, dim=0) for row in weight]
        true = torch.exp(scale * (cosines[target] - margin))
        others = [torch.exp(scale * c) for j, c in enumerate(cosines) if j != target]
        total = total - torch.log(true / (true + torch.stack(others).sum()))
    torch.testing.assert_close(F.cross_entropy(outputs["cls_outputs"], targets), total / 5)
