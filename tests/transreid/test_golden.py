"""Parity with the released implementation: features, losses and gradients to 1e-5."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fastreid.utils.events import EventStorage
from golden_models import GOLDEN, MODELS, GoldenModel
from transreid.modeling.patch_embed import resize_pos_embed
from transreid.weights.released import from_released

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("feat", ["before", "after"])
def test_test_features(name: str, feat: str) -> None:
    golden = GoldenModel(name)
    golden.model.eval()
    golden.model.heads.test_neck_feat = feat
    with torch.no_grad():
        features = golden.model(golden.batch)
    torch.testing.assert_close(features, golden.arrays[f"eval_{feat}"], **TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_training_outputs_and_branch_losses(name: str) -> None:
    golden = GoldenModel(name)
    golden.model.train()
    heads = golden.model.heads
    captured = {}
    heads.register_forward_hook(lambda module, args, outputs: captured.update(outputs))
    with EventStorage(0):
        golden.model(golden.batch)
        branches = [captured, *captured.get("local", [])]
        baseline_losses = super(type(golden.model), golden.model).losses
        losses = [baseline_losses(branch, golden.arrays["labels"]) for branch in branches]
    assert len(branches) == len(golden.arrays["loss_id"])
    for i, (branch, loss) in enumerate(zip(branches, losses, strict=True)):
        close = torch.testing.assert_close
        close(branch["pred_class_logits"], golden.arrays[f"train_score/{i}"], **TOLERANCE)
        close(branch["features"], golden.arrays[f"train_feat/{i}"], **TOLERANCE)
        close(loss["loss_cls"], golden.arrays["loss_id"][i], **TOLERANCE)
        close(loss["loss_triplet"], golden.arrays["loss_tri"][i], **TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weighting, weight", [("loss_paper", 1.0), ("loss_code", 0.5)])
def test_weighted_loss(name: str, weighting: str, weight: float) -> None:
    golden = GoldenModel(name, global_weight=weight, local_weight=weight)
    golden.model.train()
    with EventStorage(0):
        losses = golden.model(golden.batch)
    total = torch.stack(list(losses.values())).sum()
    if name.startswith("transreid_baseline") and weighting == "loss_code":
        # Without parts the released code does not halve: L_ID + L_T.
        total = total * 2
    torch.testing.assert_close(total, golden.arrays[weighting], **TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_gradients(name: str) -> None:
    weight = 1.0 if name.startswith("transreid_baseline") else 0.5
    golden = GoldenModel(name, global_weight=weight, local_weight=weight)
    golden.model.train()
    with EventStorage(0):
        torch.stack(list(golden.model(golden.batch).values())).sum().backward()
    parameters = dict(golden.model.named_parameters())
    released = golden.with_prefix("grad/")
    # `from_released` decides about JPM and dead weights from a whole state dict.
    names = from_released({**{k: k for k in golden.released_state()}})
    ours = {released_name: our_name for our_name, released_name in names.items()}
    assert len(released) >= 8
    for key, gradient in released.items():
        parameter = parameters[ours[key.removeprefix("grad/")]]
        torch.testing.assert_close(parameter.grad, gradient, **TOLERANCE, msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_every_trainable_parameter_gets_a_gradient(name: str) -> None:
    golden = GoldenModel(name)
    golden.model.train()
    with EventStorage(0):
        torch.stack(list(golden.model(golden.batch).values())).sum().backward()
    without = [n for n, p in golden.model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_resized_position_embeddings() -> None:
    grids = {"square_14x14": (14, 14), "lup_16x8": (16, 8)}
    with np.load(GOLDEN / "pos_embed_resize.npz") as file:
        arrays = {name: torch.from_numpy(file[name]).float() for name in file.files}
    targets = [name for name in arrays if name not in grids]
    assert len(targets) == 8
    for name in targets:
        source = "lup_16x8" if name.startswith("ssl_16x8_to_") else "square_14x14"
        rows, columns = name.split("_")[-1].split("x")
        resized = resize_pos_embed(arrays[source], grids[source], (int(rows), int(columns)))
        torch.testing.assert_close(resized, arrays[name], **TOLERANCE, msg=name)


def test_a_wrong_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="PRETRAIN_GRID"):
        resize_pos_embed(torch.zeros(1, 129, 4), (14, 14), (16, 8))
