"""MODEL.BACKBONE.GRADIENT_CHECKPOINTING with DINO: less memory, the same loss and gradients."""

from __future__ import annotations

import pytest
import torch
from dinopretrain import DINO
from dinopretrain.engine.trainer import Schedules, compared_in_pieces
from fastreid.modeling import build_model
from reid_common.errors import UserError
from small_dino import assert_same_weights, start
from torch import Tensor


def batch(cfg) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = {"global_views": [2, *cfg.INPUT.SIZE_TRAIN], "local_views": [2, *cfg.DINO.LOCAL_SIZE]}
    return {
        name: torch.randint(0, 256, (3, *size, 3), dtype=torch.uint8, generator=generator)
        for name, size in sizes.items()
    }


def loss_and_gradients(model: DINO, views: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(5)  # drop path
    loss = model(views)["loss_dino"]
    loss.backward()
    return loss.detach(), [p.grad for p in model.student.parameters() if p.requires_grad]


@pytest.mark.parametrize("stem", ["patch", "ics"])
def test_both_view_sizes_with_drop_path(dino_cfg, stem) -> None:
    dino_cfg.MODEL.BACKBONE.DROP_PATH_RATIO, dino_cfg.MODEL.BACKBONE.STEM = 0.5, stem
    plain = build_model(dino_cfg).train()
    dino_cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING = True
    recomputed = build_model(dino_cfg).train()
    recomputed.load_state_dict(plain.state_dict())
    calls = {"student": 0, "teacher": 0}

    def count(name: str) -> None:
        block = getattr(recomputed, name).backbone.blocks[0]
        block.register_forward_pre_hook(lambda *args: calls.update({name: calls[name] + 1}))

    count("student")
    count("teacher")
    loss, gradients = loss_and_gradients(recomputed, batch(dino_cfg))
    # The student's once forward and once backward for each size; the teacher's on the globals.
    assert calls == {"student": 4, "teacher": 1}
    expected_loss, expected = loss_and_gradients(plain, batch(dino_cfg))
    torch.testing.assert_close(loss, expected_loss)
    assert len(gradients) == len(expected) > 20
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("amp", [False, True])
def test_a_training_with_pieces_and_checkpointing(dino_cfg, tmp_path, amp) -> None:
    """Drop path included: the random state of a pass is put back for its recomputation."""
    dino_cfg.DINO.MICRO_BATCH, dino_cfg.SOLVER.MAX_EPOCH = 3, 2
    dino_cfg.SOLVER.AMP.ENABLED, dino_cfg.SOLVER.AMP.DTYPE = amp, "bf16"
    states = []
    for checkpointing in (False, True):
        cfg = dino_cfg.clone()
        cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING = checkpointing
        cfg.OUTPUT_DIR = str(tmp_path / str(checkpointing))
        trainer = start(cfg)
        trainer.train()
        states.append(trainer.dino.state_dict())
    assert_same_weights(*states)


def test_a_cnn_has_none(dino_cfg) -> None:
    dino_cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    dino_cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING = True
    with pytest.raises(UserError, match=r"build_resnet_backbone does not have.*DINO.MICRO_BATCH"):
        start(dino_cfg)


def test_what_sees_a_part_of_the_batch_is_told(dino_cfg, caplog) -> None:
    norm = torch.nn.ModuleList([torch.nn.BatchNorm1d(2)])
    dino_cfg.DINO.MICRO_BATCH, dino_cfg.DINO.KOLEO_WEIGHT = 4, 0.0
    assert compared_in_pieces(dino_cfg, torch.nn.Linear(1, 1), 8) == []
    assert compared_in_pieces(dino_cfg, norm, 4) == []
    assert compared_in_pieces(dino_cfg, norm, 8) == ["BatchNorm has its statistics from"]
    dino_cfg.DINO.MICRO_BATCH, dino_cfg.DINO.KOLEO_WEIGHT = 3, 0.1
    trainer = start(dino_cfg)
    with caplog.at_level("WARNING"):
        for hook in trainer._hooks:
            if isinstance(hook, Schedules):
                hook.before_train()
    assert "MICRO_BATCH 3: KoLeo compares that many images instead of" in caplog.text
