"""Parity with the released iBOT, step by step, in float64; its masks bit for bit."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from dinopretrain.losses.dino_loss import DINOLoss
from dinopretrain.losses.masked_patches import PatchCenter
from dinopretrain.modeling.encoder import Encoder
from dinopretrain.modeling.head import IBOTHead
from dinopretrain.modeling.ibot import IBOT
from dinopretrain.modeling.method import Place
from dinopretrain.transforms.masks import MaskDrawer
from torch import Tensor
from traces import (
    CLOSE,
    GOLDEN,
    AlreadyNormalised,
    Trace,
    compare,
    recorded,
    replay,
    settings,
    small_vit,
)

STEPS = 4
GRIDS = {"block_16x8": (16, 8), "block_8x4": (8, 4), "block_24x8": (24, 8), "rand_16x8": (16, 8)}


class OnNormalised(AlreadyNormalised, IBOT):
    """iBOT on normalised views."""


def head_of(meta: dict[str, Any], shared: bool) -> IBOTHead:
    sizes = meta["dim"], meta["out_dim"], meta["hidden"], meta["bottleneck"]
    patch_dim = None if shared else meta["patch_out_dim"]
    return IBOTHead(*sizes, meta["norm_last_layer"], patch_dim=patch_dim)


def ibot(trace: Trace) -> IBOT:
    """As at the trace's start."""
    meta = trace.meta
    vit = [meta[key] for key in ("size", "patch", "dim", "depth", "heads")]
    model = OnNormalised(
        student=Encoder(small_vit(*vit), head_of(meta, meta["shared_head"])),
        teacher_backbone=small_vit(*vit),
        loss=DINOLoss(meta["out_dim"]),
        patch_center=PatchCenter(meta["patch_out_dim"]),
        weights=(meta["lambda1"], meta["lambda2"]),
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    )
    if meta["shared_head_teacher"] != meta["shared_head"]:
        model.teacher.head = head_of(meta, True).requires_grad_(False)
    model.double()
    init = trace.state("init/")
    model.student.load_state_dict(init)
    own = model.teacher.state_dict()
    teacher = {key: init[key] for key in own}
    model.teacher.load_state_dict({**teacher, **trace.state("teacher_init/")})
    return model.train()


def cfg_of(meta: dict[str, Any]) -> Any:
    return settings(
        SOLVER={
            "BASE_LR": meta["lr"],
            "IMS_PER_BATCH": 256,  # the trace's rate is not scaled by the batch
            "WARMUP_EPOCHS": meta["warmup_epochs"],
            "WEIGHT_DECAY": meta["weight_decay"],
        },
        DINO={
            "MIN_LR": meta["min_lr"],
            "WEIGHT_DECAY_END": meta["weight_decay_end"],
            "MOMENTUM": meta["momentum_teacher"],
            "TEACHER_TEMP": meta["teacher_temp"],
            "WARMUP_TEACHER_TEMP": meta["warmup_teacher_temp"],
            "WARMUP_TEACHER_TEMP_EPOCHS": meta["warmup_teacher_temp_epochs"],
            "FREEZE_LAST_LAYER": meta["freeze_last_layer"],
        },
        IBOT={
            "WARMUP_TEACHER_PATCH_TEMP": meta["warmup_teacher_patch_temp"],
            "TEACHER_PATCH_TEMP": meta["teacher_patch_temp"],
            "MASK_START_EPOCH": meta["pred_start_epoch"],
        },
    )


def unpacked(bits: np.ndarray, *shape: int) -> np.ndarray:
    count = int(np.prod(shape[1:]))
    return np.unpackbits(bits, axis=1)[:, :count].reshape(shape).astype(bool)


def drawn_masks(meta: dict[str, Any], step: int) -> np.ndarray:
    """(2, B, H, W): image by image, within it view by view, those of local views left out."""
    random.seed(1000 * meta["seed"] + step)
    np.random.seed(1000 * meta["seed"] + step)
    ratios = [np.atleast_1d(meta[key]).tolist() for key in ("pred_ratio", "pred_ratio_var")]
    grids = [[side // meta["patch"] for side in meta[key]] for key in ("size", "local_size")]
    kinds = [MaskDrawer((g[0], g[1]), *ratios, meta["pred_shape"]) for g in grids]
    drawers = [kinds[0]] * 2 + [kinds[1]] * meta["locals"]
    of_images = [[draw() for draw in drawers][:2] for _ in range(meta["batch"])]
    return np.array(of_images).transpose(1, 0, 2, 3)


def masks_of(trace: Trace) -> np.ndarray:
    """(T, 2, B, H, W)."""
    return unpacked(trace.arrays["masks"], *trace.meta["mask_shape"])


def batches_of(trace: Trace) -> list[dict[str, Tensor]]:
    """Views and masks of each step as the loader gives them, but normalised."""
    batches = []
    with np.load(GOLDEN / "ibot_trace.npz") as file:
        for step, masks in enumerate(masks_of(trace)):
            batch = {"masks": torch.from_numpy(masks).transpose(0, 1)}
            for name in ("global", "local"):
                views = torch.from_numpy(file[f"{name}s/{step}"]).double()
                batch[f"{name}_views"] = views.permute(1, 0, 3, 4, 2)
            batches.append(batch)
    return batches


@pytest.mark.parametrize("part", ["shared", "separate", "mixed"])
def test_four_steps(part: str) -> None:
    trace = Trace("ibot", part)
    meta, model = trace.meta, ibot(trace)
    masks = masks_of(trace)
    for step in range(STEPS):
        np.testing.assert_array_equal(drawn_masks(meta, step), masks[step])
    seen = recorded(model, "losses")
    outputs: list[tuple[Tensor, Tensor]] = []
    for encoder in (model.student, model.teacher):
        original = encoder.head.of_both
        encoder.head.of_both = lambda *args, original=original: (
            outputs.append(original(*args)) or outputs[-1]
        )

    def after(step: int, run: Any) -> None:
        losses = {name: value.detach() for name, value in seen["losses"].pop().items()}
        expected = {"loss_dino": "loss_cls", "loss_patch": "loss_patch"}
        for ours, theirs in expected.items():
            torch.testing.assert_close(losses[ours], trace.tensor(theirs)[step], **CLOSE)
        torch.testing.assert_close(sum(losses.values()), trace.tensor("loss")[step], **CLOSE)
        for center, name in ((model.loss, "center"), (model.patch_center, "center2")):
            torch.testing.assert_close(center.center[0], trace.tensor(name)[step], **CLOSE)
        if part != "mixed":
            check_outputs(outputs, trace, step, torch.from_numpy(masks[step]).flatten(0, 1))
            check_schedules(model, run, trace, step)
            if step == 0:
                found = {n.removeprefix("student."): g for n, g in run.gradients.items()}
                compare(found, trace.state("grad/"))
        outputs.clear()

    replay(model, cfg_of(meta), batches_of(trace), 2, STEPS, after, clip=meta["clip_grad"])
    if part != "mixed":
        compare(model.student.state_dict(), trace.state("student/"))
        compare(model.teacher.state_dict(), trace.state("teacher/"))


def check_outputs(outputs: list, trace: Trace, step: int, masks: Tensor) -> None:
    (teacher_cls, teacher_patch), (cls, hidden) = outputs  # the teacher goes first
    expected = {n: trace.tensor(n)[step] for n in ("student_cls", "student_local_cls")}
    torch.testing.assert_close(cls, torch.cat(list(expected.values())), **CLOSE)
    patches = trace.tensor("student_patch")[step]
    torch.testing.assert_close(hidden, patches[masks.flatten(1)], **CLOSE)
    torch.testing.assert_close(teacher_cls, trace.tensor("teacher_cls")[step], **CLOSE)
    expected_patches = trace.tensor("teacher_patch")[step].flatten(0, 1)
    torch.testing.assert_close(teacher_patch, expected_patches, **CLOSE)


def check_schedules(model: IBOT, run: Any, trace: Trace, step: int) -> None:
    close = {"abs": 1e-12}
    assert run.lr == pytest.approx(trace.arrays["lr"][step], **close)
    decay = run.optimizer.param_groups[0]["weight_decay"]
    assert decay == pytest.approx(trace.arrays["wd"][step], **close)
    assert run.momentum == pytest.approx(trace.arrays["momentum"][step], **close)
    assert model.teacher_temp == pytest.approx(trace.arrays["teacher_temp"][step // 2], **close)
    assert model.patch_temp == pytest.approx(trace.arrays["teacher_patch_temp"][step // 2], **close)
    assert len(run.optimizer.param_groups[1]["params"]) == len(trace.meta["no_decay"])


@pytest.mark.parametrize("tag", GRIDS)
def test_masks_bit_for_bit(tag: str) -> None:
    """64 in a row, and where and how many of 2,000."""
    with np.load(GOLDEN / "ibot_trace.npz") as file:
        expected = unpacked(file[f"mask/{tag}"], 64, *GRIDS[tag])
        where, count = file[f"mask/{tag}_where"], file[f"mask/{tag}_count"]
    random.seed(123)
    np.random.seed(123)
    draw = MaskDrawer(GRIDS[tag], shape=tag.partition("_")[0])
    np.testing.assert_array_equal([draw() for _ in range(64)], expected)
    share = MaskDrawer(GRIDS[tag], [0.3], [0.2], tag.partition("_")[0])
    masks = np.array([share() for _ in range(2000)])
    assert np.abs(masks.mean(0) - where).max() < 0.05
    mean = (count * np.arange(len(count))).sum() / count.sum()
    assert masks.sum((1, 2)).mean() == pytest.approx(mean, rel=0.03)
    assert masks.sum((1, 2)).max() <= 0.5 * masks[0].size


@pytest.mark.parametrize("start", [0, 50])
def test_temperatures_of_a_hundred_epochs(start: int) -> None:
    trace = Trace("ibot", "shared")
    with np.load(GOLDEN / "ibot_trace.npz") as file:
        cls, patch = (file[f"long/teacher_{n}_start{start}"] for n in ("temp", "patch_temp"))
    model, cfg = ibot(trace), cfg_of(trace.meta)
    cfg.DINO.WARMUP_TEACHER_TEMP_EPOCHS, cfg.IBOT.MASK_START_EPOCH = 30, start
    cfg.IBOT.TEACHER_PATCH_TEMP = 0.07
    for epoch in range(100):
        model.schedule(cfg, Place(epoch, 100, 1))
        assert model.teacher_temp == pytest.approx(cls[epoch])
        assert model.patch_temp == pytest.approx(patch[epoch])
        assert model.masking == (epoch >= start)
