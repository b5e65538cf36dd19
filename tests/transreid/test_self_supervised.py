"""Checkpoints of MoCo v2, MoCo v3, MoBY and iBOT are recognised; a wrong number of heads, too."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from reid_common.errors import UserError
from reid_common.self_supervised import online_backbone
from torch import nn
from transreid import TransReIDBackbone, load_weights
from transreid.modeling.vits import create_vit
from transreid.weights.formats import read_weights
from yacs.config import CfgNode

SIZE = (32, 16)


def backbone(name: str = "vit_tiny_patch16_224", **options: int) -> TransReIDBackbone:
    return TransReIDBackbone(create_vit(name, 2, **options), SIZE, (8, 8))


def released(vit: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{key}": value for key, value in vit.state_dict().items()}


def moco_v2(online: nn.Module, average: nn.Module) -> dict:
    state = released(online, "module.encoder_q.") | released(average, "module.encoder_k.")
    state |= {"module.encoder_q.fc.0.weight": torch.zeros(2, 2)}
    state |= {"module.queue": torch.zeros(2, 4), "module.queue_ptr": torch.zeros(1)}
    return {"epoch": 200, "arch": "vit", "state_dict": state, "optimizer": {}}


def moco_v3(online: nn.Module, average: nn.Module) -> dict:
    state = released(online, "module.base_encoder.")
    state |= released(average, "module.momentum_encoder.")
    state |= {"module.base_encoder.head.0.weight": torch.zeros(2, 2)}
    state |= {"module.predictor.0.weight": torch.zeros(2, 2)}
    return {"epoch": 300, "state_dict": state}


def moby(online: nn.Module, average: nn.Module) -> dict:
    state = released(online, "encoder.") | released(average, "encoder_k.")
    state |= {"projector.linear_out.weight": torch.zeros(2, 2), "queue1": torch.zeros(2, 4)}
    return {"model": state, "config": CfgNode({"TRAIN": CfgNode({"EPOCHS": 300})})}


def ibot(online: nn.Module, average: nn.Module) -> dict:
    """Of which the teacher is handed on."""
    student = released(average, "module.backbone.")
    student |= {"module.backbone.masked_embed": torch.zeros(1, 192)}
    head = {"head.last_layer.weight_v": torch.zeros(2, 2)}
    head |= {"head.last_layer2.weight_v": torch.zeros(2, 2)}
    loss = {"center": torch.zeros(1, 2), "center2": torch.zeros(1, 1, 2)}
    teacher = released(online, "backbone.") | head
    return {"student": student, "teacher": teacher, "ibot_loss": loss, "args": argparse.Namespace()}


FORMS = {"MoCo v2": moco_v2, "MoCo v3": moco_v3, "MoBY": moby, "iBOT": ibot}


@pytest.mark.parametrize("form", FORMS)
def test_a_released_file_gives_the_right_encoder(form: str, tmp_path: Path) -> None:
    online, average = backbone(), backbone()
    path = tmp_path / "checkpoint.pth"
    torch.save(FORMS[form](online, average), path)
    assert form in read_weights(str(path)).kind
    loaded = backbone()
    report = load_weights(loaded, str(path))
    assert report.missing == report.skipped == []
    for key, value in online.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_moco_v3_has_twelve_heads_where_others_have_six(tmp_path: Path) -> None:
    path = tmp_path / "vit-s-300ep.pth.tar"
    theirs = backbone("vit_small_patch16_224", num_heads=12)
    torch.save(moco_v3(theirs, theirs), path)
    with pytest.raises(UserError, match=r"12 heads, this model has 6.*BACKBONE.NUM_HEADS 12"):
        load_weights(backbone("vit_small_patch16_224"), str(path))
    assert load_weights(backbone("vit_small_patch16_224", num_heads=12), str(path)).missing == []


def test_our_file_of_a_backbone_says_its_heads(tmp_path: Path) -> None:
    path = tmp_path / "online_backbone.pth"
    state = {**backbone().state_dict(), "num_heads": torch.tensor(3)}
    torch.save(state, path)
    assert load_weights(backbone(), str(path)).missing == []
    with pytest.raises(UserError, match="trained with 3 heads, this model has 6"):
        load_weights(backbone(num_heads=6), str(path))


def test_a_resnet_of_lupersons_moco_is_found() -> None:
    """Names are torchvision's, which FastReID's ResNets have."""
    keys = ("conv1.weight", "layer1.0.conv1.weight", "fc.0.weight", "fc.2.bias")
    state = {f"module.encoder_q.{key}": torch.ones(1) for key in keys}
    state |= {"module.encoder_k.conv1.weight": torch.zeros(1)}
    online = online_backbone(state)
    assert online is not None and online.method == "MoCo v2 checkpoint"
    assert set(online.state) == {"conv1.weight", "layer1.0.conv1.weight"}
    assert online.num_heads == 0 and bool(online.state["conv1.weight"])
    assert online_backbone({"encoder.conv1.weight": torch.ones(1)}) is None
    assert online_backbone({"backbone.conv1.weight": torch.ones(1)}) is None
