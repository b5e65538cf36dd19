"""Every YAML of the project loads, builds its model and runs one step on views of its size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dinopretrain import load_config
from dinopretrain.trainer import check_dino_config, parameter_groups
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage

CONFIGS = Path(__file__).parents[2] / "projects" / "DINOPretrain" / "configs"
LEAVES = sorted(p for p in CONFIGS.glob("*/*.yml") if p.parent.name != "ToyReID")
BATCH = 2


def views(cfg: CfgNode) -> dict[str, torch.Tensor]:
    def random(number: int, size: list[int]) -> torch.Tensor:
        return torch.randint(0, 256, (BATCH, number, *size, 3), dtype=torch.uint8)

    return {
        "global_views": random(2, cfg.INPUT.SIZE_TRAIN),
        "local_views": random(cfg.DINO.LOCAL_VIEWS, cfg.DINO.LOCAL_SIZE),
    }


@pytest.mark.parametrize("path", LEAVES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_config_trains_a_step(path: Path) -> None:
    cfg = load_config(path, ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DROP_PATH_RATIO", 0.0])
    check_dino_config(cfg)
    model = build_model(cfg).train()
    groups = parameter_groups(model.student, cfg.SOLVER.WEIGHT_DECAY)
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    with EventStorage(0):
        loss = model(views(cfg))["loss_dino"]
    loss.backward()
    assert torch.isfinite(loss)
    trained = [p for group in groups for p in group["params"]]
    assert all(p.grad is not None for p in trained)
    before = trained[0].detach().clone()
    optimizer.step()
    assert not torch.equal(trained[0], before)
    model.update_teacher(0.9)
    with torch.no_grad():
        features = model.eval()({"images": torch.rand(1, 3, *cfg.INPUT.SIZE_TEST) * 255})
    assert features.shape == (1, cfg.MODEL.BACKBONE.FEAT_DIM)


def test_the_normalisation_is_imagenets_and_not_that_of_fine_tuning() -> None:
    for path in LEAVES:
        cfg = load_config(path)
        assert pytest.approx([0.485 * 255, 0.456 * 255, 0.406 * 255]) == cfg.MODEL.PIXEL_MEAN
        assert pytest.approx([0.229 * 255, 0.224 * 255, 0.225 * 255]) == cfg.MODEL.PIXEL_STD
    assert load_config(CONFIGS / "ToyReID" / "vit_tiny.yml").MODEL.PIXEL_MEAN == [127.5] * 3


def test_the_recipe_of_the_facts() -> None:
    cfg = load_config(CONFIGS / "LUPerson" / "vit_small.yml")
    solver, dino = cfg.SOLVER, cfg.DINO
    assert (solver.IMS_PER_BATCH, solver.MAX_EPOCH, solver.WARMUP_EPOCHS) == (512, 100, 10)
    assert (solver.BASE_LR, dino.MIN_LR) == (5e-4, 1e-6)
    assert (solver.WEIGHT_DECAY, dino.WEIGHT_DECAY_END) == (0.04, 0.4)
    assert (dino.OUT_DIM, dino.STUDENT_TEMP, dino.CENTER_MOMENTUM) == (65536, 0.1, 0.9)
    assert (dino.MOMENTUM, dino.CLIP_GRADIENT, dino.FREEZE_LAST_LAYER) == (0.996, 3.0, 1)
    assert (cfg.INPUT.SIZE_TRAIN, dino.LOCAL_SIZE, dino.LOCAL_VIEWS) == ([256, 128], [128, 64], 8)
    assert (dino.GLOBAL_SCALE, dino.LOCAL_SCALE) == ([0.4, 1.0], [0.05, 0.4])
