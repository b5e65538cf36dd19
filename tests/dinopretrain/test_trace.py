"""Parity with the released DINO over four steps: outputs, losses, centres, schedules, weights."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from dinopretrain.engine.step import DINOStep
from dinopretrain.engine.trainer import Schedules
from dinopretrain.losses.dino_loss import DINOLoss
from dinopretrain.modeling.dino import DINO, Encoder
from dinopretrain.modeling.head import DINOHead
from dinopretrain.solver.parameter_groups import parameter_groups
from dinopretrain.solver.schedules import cosine_with_warmup
from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transreid import TransReIDBackbone

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


class Trace:
    """The golden file: ``arrays`` and ``meta``."""

    def __init__(self) -> None:
        with np.load(Path(__file__).parents[1] / "golden" / "dino_trace.npz") as file:
            self.meta = json.loads(str(file["meta"]))
            self.arrays = {k: np.array(file[k]) for k in file.files if k != "meta"}

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key]).float()

    def state(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): self.tensor(k) for k in self.arrays if k.startswith(prefix)}

    def batch(self, step: int) -> dict[str, Tensor]:
        """Views of a step as the loader gives them, but normalised already: (B, n, H, W, 3)."""
        return {
            f"{name}_views": self.tensor(f"{name}s/{step}").permute(1, 0, 3, 4, 2)
            for name in ("global", "local")
        }


class Normalised(DINO):
    """DINO on views that are normalised already, and a record of what its encoders give."""

    def normalised(self, views: Tensor) -> Tensor:
        return views.transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)


def build(meta: dict[str, Any]) -> Normalised:
    def backbone() -> TransReIDBackbone:
        vit = VisionTransformer(
            img_size=meta["img"],
            patch_size=meta["patch"],
            num_classes=0,
            embed_dim=meta["dim"],
            depth=meta["depth"],
            num_heads=meta["heads"],
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
        return TransReIDBackbone(vit, meta["img"], (meta["patch"], meta["patch"]))

    head = DINOHead(
        meta["dim"],
        meta["out_dim"],
        meta["hidden_dim"],
        meta["bottleneck_dim"],
        meta["norm_last_layer"],
    )
    return Normalised(
        student=Encoder(backbone(), head),
        teacher_backbone=backbone(),
        loss=DINOLoss(meta["out_dim"], meta["student_temp"], meta["center_momentum"]),
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    )


def settings(meta: dict[str, Any]) -> CfgNode:
    cfg = CfgNode()
    cfg.SOLVER = CfgNode(
        {
            "BASE_LR": meta["base_lr"],
            "IMS_PER_BATCH": 256,  # the trace's rate is not scaled by the batch
            "WARMUP_EPOCHS": meta["warmup_epochs"],
            "WEIGHT_DECAY": meta["wd"],
        }
    )
    cfg.DINO = CfgNode(
        {
            "MIN_LR": meta["min_lr"],
            "WEIGHT_DECAY_END": meta["wd_end"],
            "MOMENTUM": meta["momentum"],
            "TEACHER_TEMP": meta["teacher_temp"],
            "WARMUP_TEACHER_TEMP": meta["warmup_teacher_temp"],
            "WARMUP_TEACHER_TEMP_EPOCHS": meta["warmup_teacher_temp_epochs"],
            "FREEZE_LAST_LAYER": meta["freeze_last_layer"],
        }
    )
    return cfg


def test_four_steps_of_the_released_implementation() -> None:
    trace = Trace()
    meta, model = trace.meta, build(trace.meta).train()
    for encoder in (model.student, model.teacher):
        encoder.load_state_dict(trace.state("init/"))
    seen: dict[str, Tensor] = {}
    for name in ("student", "teacher"):
        getattr(model, name).head.register_forward_hook(
            lambda module, args, output, name=name: seen.update({name: output.detach()})
        )
    optimizer = torch.optim.AdamW(parameter_groups(model.student, meta["wd"]), lr=0.0)
    num_steps = meta["epochs"] * meta["iters_per_epoch"]
    batches = iter([trace.batch(step) for step in range(num_steps)])
    simple = SimpleNamespace(
        model=model, optimizer=optimizer, data_loader=None, _data_loader_iter=batches
    )
    stepper = DINOStep(simple, dtype=None, clip=meta["clip"])
    schedules = Schedules(settings(meta))
    with EventStorage(0) as storage:
        schedules.trainer = SimpleNamespace(
            max_iter=num_steps,
            iters_per_epoch=meta["iters_per_epoch"],
            optimizer=optimizer,
            dino=model,
            _trainer=stepper,
            storage=storage,
        )
        for step in range(num_steps):
            schedules.trainer.iter = step
            schedules.before_step()
            stepper.run_step()
            schedules.after_step()
            loss = storage.latest()["total_loss"]
            assert float(np.ravel(loss)[0]) == pytest.approx(trace.arrays["losses"][step], abs=1e-5)
            for name, output in seen.items():
                torch.testing.assert_close(output, trace.tensor(f"{name}_out")[step], **CLOSE)
            torch.testing.assert_close(model.loss.center, trace.tensor("centers")[step], **CLOSE)
            assert optimizer.param_groups[0]["lr"] == pytest.approx(trace.arrays["lr"][step])
            decay = optimizer.param_groups[0]["weight_decay"]
            assert decay == pytest.approx(trace.arrays["wd"][step])
            assert schedules.momentum == pytest.approx(trace.arrays["momentum"][step])
            epoch = step // meta["iters_per_epoch"]
            assert model.teacher_temp == pytest.approx(trace.arrays["teacher_temp"][epoch])
    compare(model.student, trace.state("student/"), meta["dim"])
    compare(model.teacher, trace.state("teacher/"), meta["dim"])


def compare(encoder: nn.Module, expected: dict[str, Tensor], dim: int) -> None:
    """To 1e-5, but for the bias of the keys.

    Adding a constant to all keys changes no attention weight, so its gradient is 0 but for
    rounding, which Adam scales up to a whole step in a random direction.
    """
    state = encoder.state_dict()
    assert set(state) == set(expected)
    for key, value in state.items():
        keep = torch.ones(len(value), dtype=torch.bool) if value.dim() else torch.tensor(True)
        if key.endswith("attn.qkv.bias"):
            keep[dim : 2 * dim] = False
        torch.testing.assert_close(value[keep], expected[key][keep], **CLOSE, msg=key)


@pytest.mark.parametrize(
    "name, base, end, warmup",
    [("lr", 1e-3, 1e-6, 10 * 7), ("wd", 0.04, 0.4, 0), ("momentum", 0.996, 1.0, 0)],
)
def test_schedules_of_a_hundred_epochs(name: str, base: float, end: float, warmup: int) -> None:
    expected = Trace().arrays[f"long_{name}"]
    ours = [cosine_with_warmup(step, 700, base, end, warmup) for step in range(700)]
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-15)
