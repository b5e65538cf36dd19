"""DINO on a GPU: precisions, resume, pieces, NCCL. Skipped where there is none."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from dinopretrain import DINOTrainer
from dinopretrain.engine.step import DINOStep
from dinopretrain.solver.parameter_groups import parameter_groups
from fastreid.config import CfgNode
from fastreid.engine.train_loop import HookBase
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from fastreid_compat.repairs.distributed import launch as distributed
from python_forks import free_port
from small_dino import ITERS_PER_EPOCH, start
from torch.nn.parallel import DistributedDataParallel

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

TRAIN = Path(__file__).parents[2] / "tools" / "train_net.py"
PRECISIONS = ["fp32", "bf16", "fp16"]
# Of the first loss against float32 on the CPU: rounding of the type, TF32 convolutions.
TOLERANCE = {"fp32": 5e-3, "bf16": 5e-2, "fp16": 2e-2}


@pytest.fixture
def cuda_cfg(dino_cfg) -> CfgNode:
    """The tiny run on the GPU, without drop path, whose draws differ there."""
    dino_cfg.MODEL.DEVICE = "cuda"
    dino_cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.0
    return dino_cfg


def in_precision(cfg: CfgNode, name: str) -> CfgNode:
    cfg = cfg.clone()
    cfg.SOLVER.AMP.ENABLED = name != "fp32"
    cfg.SOLVER.AMP.DTYPE = "auto" if name == "fp32" else name
    return cfg


def first_loss(trainer: DINOTrainer) -> float:
    """Of the first batch, which depends on the seed alone."""
    step = trainer._trainer
    step.grad_scaler = torch.amp.GradScaler(enabled=False)
    return float(step._accumulate(next(step._data_loader_iter))["loss_dino"])


class Losses(HookBase):
    """Losses of the steps that were not skipped."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_step(self) -> None:
        if not self.trainer._trainer.skipped:
            value: Any = self.trainer.storage.latest()["total_loss"]
            self.seen.append(float(value[0] if isinstance(value, tuple) else value))


def trained(cfg: CfgNode) -> tuple[DINOTrainer, list[float]]:
    trainer, losses = start(cfg), Losses()
    trainer.register_hooks([losses])
    trainer.train()
    return trainer, losses.seen


def distance(one: dict, other: dict) -> float:
    """Norm of the difference of two students' weights, without the keys' bias.

    The gradient of that is rounding alone, which Adam scales up to whole steps.
    """
    names = [k for k in one if k.startswith("student.") and not k.endswith("attn.qkv.bias")]
    return sum(float((one[k].cpu() - other[k].cpu()).double().square().sum()) for k in names) ** 0.5


def copied(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.cpu().clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_first_loss_is_the_cpus(cuda_cfg, tmp_path, precision) -> None:
    cpu = cuda_cfg.clone()
    cpu.MODEL.DEVICE, cpu.OUTPUT_DIR = "cpu", str(tmp_path / "cpu")
    expected = first_loss(start(cpu))
    ours = first_loss(start(in_precision(cuda_cfg, precision)))
    assert ours == pytest.approx(expected, rel=TOLERANCE[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_loss_falls_and_all_stays_finite(cuda_cfg, precision) -> None:
    cfg = in_precision(cuda_cfg, precision)
    cfg.SOLVER.MAX_EPOCH = 6
    cfg.DINO.STOP_ON_COLLAPSE = False
    trainer, losses = trained(cfg)
    state = trainer.dino.state_dict()
    assert all(value.is_cuda and torch.isfinite(value).all() for value in state.values())
    assert sum(losses[-6:]) < sum(losses[:6])
    # Only float16's scaler has to look for its scale.
    assert (trainer._trainer.skipped_in_all > 0) <= (precision == "fp16")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_killed_and_resumed(cuda_cfg, tmp_path, precision) -> None:
    """In the middle of the second epoch; equal but for the order in which CUDA's kernels add."""

    class Killed(Exception):
        pass

    class Kill(HookBase):
        def before_step(self) -> None:
            if self.trainer.iter == ITERS_PER_EPOCH + 2:
                raise Killed

    cfg = in_precision(cuda_cfg, precision)
    whole, losses = trained(cfg)
    cfg = cfg.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "killed")
    trainer = start(cfg)
    trainer.register_hooks([Kill()])
    with pytest.raises(Killed):
        trainer.train()
    scale = whole._trainer.grad_scaler.get_scale()
    resumed = start(cfg)
    assert resumed.start_epoch == 1
    assert next(resumed.dino.parameters()).is_cuda
    later = Losses()
    resumed.register_hooks([later])
    resumed.train()
    assert len(later.seen) > 3
    assert later.seen == pytest.approx(losses[-len(later.seen) :], rel=2e-2)
    assert resumed._trainer.grad_scaler.get_scale() == scale
    checkpoint = torch.load(
        Path(cfg.OUTPUT_DIR) / "model_0000.pth", weights_only=True, map_location="cpu"
    )
    expected = whole.dino.state_dict()
    way = distance(expected, checkpoint["model"])
    assert distance(resumed.dino.state_dict(), expected) < 0.05 * way


@pytest.mark.parametrize("checkpointing", [False, True])
def test_pieces_give_the_undivided_batch(cuda_cfg, tmp_path, checkpointing) -> None:
    cfg = cuda_cfg
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR = 2, 1e-3
    whole, expected = trained(cfg)
    before = copied(start(cfg, resume=False).dino)
    cfg = cfg.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "pieces")
    cfg.DINO.MICRO_BATCH, cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING = 3, checkpointing
    cut, losses = trained(cfg)
    assert losses == pytest.approx(expected, rel=5e-3)
    way = distance(whole.dino.state_dict(), before)
    assert distance(cut.dino.state_dict(), whole.dino.state_dict()) < 0.05 * way


@contextlib.contextmanager
def nccl_group_of_one() -> Iterator[None]:
    distributed.join_group(0, 1, 0, 1, f"tcp://127.0.0.1:{free_port()}")
    try:
        assert torch.distributed.get_backend() == "nccl"
        yield
    finally:
        distributed.leave_group()


def step_of(model: torch.nn.Module, dino: Any, views: dict, micro_batch: int) -> DINOStep:
    """A step in bfloat16 on views."""
    simple: Any = SimpleNamespace(
        model=model,
        optimizer=torch.optim.AdamW(parameter_groups(dino.student, 0.04), lr=1e-4),
        data_loader=None,
        _data_loader_iter=iter([views] * 3),
    )
    return DINOStep(simple, dtype=torch.bfloat16, clip=3.0, micro_batch=micro_batch)


def test_nccl_with_pieces_and_bfloat16(cuda_cfg) -> None:
    """DistributedDataParallel of one process, gradients exchanged with the last piece only."""
    torch.manual_seed(0)
    cuda_cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING = True
    plain = build_model(cuda_cfg).train()
    wrapped, before = copy.deepcopy(plain), copied(plain)
    sizes = {"global_views": (2, 32, 16), "local_views": (2, 16, 16)}
    views = {k: torch.randint(0, 256, (4, *s, 3), dtype=torch.uint8) for k, s in sizes.items()}
    with nccl_group_of_one():
        parallel = DistributedDataParallel(wrapped, device_ids=[0], broadcast_buffers=False)
        states = []
        for model, dino in ((plain, plain), (parallel, wrapped)):
            step = step_of(model, dino, views, micro_batch=3)
            with EventStorage(0) as storage:
                for _ in range(3):
                    step.run_step()
                    dino.update_teacher(0.9)
                assert step.skipped_in_all == 0
                assert "feature_spread" in storage.latest()
            states.append(dino.state_dict())
    assert distance(*states) < 0.05 * distance(states[0], before)


def test_the_command_line_under_torchrun_with_fp16(cuda_cfg, tmp_path) -> None:
    """As torchrun --nproc_per_node 1 starts it."""
    cfg = in_precision(cuda_cfg, "fp16")
    cfg.SOLVER.MAX_EPOCH, cfg.DINO.MICRO_BATCH = 2, 2
    (tmp_path / "config.yaml").write_text(cfg.dump())
    environment = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, str(TRAIN), "--config-file", str(tmp_path / "config.yaml")]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    assert json.loads(lines[-1])["iteration"] == 2 * ITERS_PER_EPOCH - 1
    content = torch.load(
        Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True, map_location="cpu"
    )
    assert content["grad_scaler"]["scale"] > 0
    assert all(torch.isfinite(value).all() for value in content["model"].values())
