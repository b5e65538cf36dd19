"""Every YAML of the project loads, builds its model and runs one step on views of its size."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dinopretrain.config import check_dino_config
from dinopretrain.data.loader import open_images
from dinopretrain.engine.step import PretrainStep
from dinopretrain.modeling.method import Place
from dinopretrain.solver.parameter_groups import parameter_groups
from dinopretrain.transforms.views import MultiCrop
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from reid_core.config import load_config
from small_dino import write_noise

CONFIGS = Path(__file__).parents[2] / "projects" / "DINOPretrain" / "configs"
LEAVES = sorted(p for p in CONFIGS.glob("*/*.yml") if p.parent.name != "ToyReID")
# Those on a list of images are others but for the list.
LISTED = [path for path in LEAVES if path.stem.endswith("_cfs")]
BATCH = 1  # of which there are ten views


# Of other methods the backbone is as in configs of DINO, which train it whole: two blocks,
# small images and heads will do.
SMALLER = {
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "DINO.LOCAL_SIZE": [32, 16],
    "MODEL.BACKBONE.NUM_BLOCKS": 2,
    "DINO.OUT_DIM": 64,
    "MOCO.HIDDEN_DIM": 32,
    "MOCO.QUEUE_SIZE": 8,
    "SOLVER.IMS_PER_BATCH": 2,
}


def views(cfg: CfgNode, count: int = BATCH) -> dict[str, torch.Tensor]:
    def random(number: int, size: list[int]) -> torch.Tensor:
        return torch.randint(0, 256, (count, number, *size, 3), dtype=torch.uint8)

    return {
        "global_views": random(2, cfg.INPUT.SIZE_TRAIN),
        "local_views": random(cfg.DINO.LOCAL_VIEWS, cfg.DINO.LOCAL_SIZE),
    }


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def is_trained_whole(path: Path) -> bool:
    """Those of DINO; the ResNet-50 for LUPerson alone."""
    of_dino = load_config(path).MODEL.META_ARCHITECTURE == "DINO"
    return of_dino and name_of(path) != "ImageNet/r50"


def test_the_configs_that_the_readme_promises() -> None:
    luperson = ("vit_small", "vit_small_ics", "vit_base_ics", "r50")
    promised = {f"LUPerson/{name}{suffix}" for name in luperson for suffix in ("", "_cfs")}
    promised |= {"ImageNet/vit_small", "SmallBatch/vit_small", "ToyUnlabeled/vit_tiny"}
    cells = ("moco_v2_vit_small", "moco_v3_vit_small", "moby_vit_small", "ibot_vit_small")
    resnets = ("moco_v2_r50", "moco_v3_r50")
    promised |= {
        f"LUPerson/{name}{suffix}" for name in (*cells, *resnets) for suffix in ("", "_cfs")
    }
    promised |= {f"ImageNet/{name}" for name in (*cells, *resnets, "r50")}
    promised |= {f"SmallBatch/{name}" for name in cells}
    promised |= {f"ToyUnlabeled/{name.replace('small', 'tiny')}" for name in cells}
    assert promised <= {name_of(path) for path in LEAVES}
    pages = (CONFIGS.parent / "README.md", CONFIGS.parents[2] / "docs" / "pretraining-methods.md")
    readme = "".join(page.read_text() for page in pages)
    for path in LEAVES:
        assert f"configs/{name_of(path)}.yml" in readme, path


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_each_run_has_its_own_folder_and_can_start(path: Path) -> None:
    check_dino_config(load_config(path))
    assert [p for p in LEAVES if folder_of(p) == folder_of(path)] == [path]


@functools.cache
def folder_of(path: Path) -> str:
    return load_config(path).OUTPUT_DIR


@pytest.mark.parametrize("path", LISTED, ids=name_of)
def test_a_config_on_a_list_is_the_other_on_the_list(path: Path, tmp_path, monkeypatch) -> None:
    cfg = load_config(path)
    other = load_config(path.with_name(path.name.replace("_cfs", "")))
    (name,) = cfg.DATASETS.NAMES
    assert (name, other.DATASETS.NAMES) == ("LUPerson:?list=CFS_list.pkl", ("LUPerson",))
    for node in (cfg, other):
        node.OUTPUT_DIR, node.DATASETS.NAMES = "", ()
    assert cfg == other
    write_noise(tmp_path / "LUP" / "images", 4)
    (tmp_path / "CFS_list.pkl").write_bytes(pickle.dumps(["003.png", "001.png"]))
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    assert len(open_images(cfg, name)) == 2


WHOLE = [path for path in LEAVES if path not in LISTED]


@pytest.mark.parametrize("path", [p for p in WHOLE if not is_trained_whole(p)], ids=name_of)
def test_every_config_of_another_method_makes_a_step(path: Path) -> None:
    cfg = load_config(path, ["MODEL.DEVICE", "cpu", *(x for kv in SMALLER.items() for x in kv)])
    if cfg.MODEL.BACKBONE.NAME == "build_resnet_backbone":
        cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512])
    check_dino_config(cfg)
    model = build_model(cfg).train()
    batch = views(cfg, 2)
    if cfg.MODEL.META_ARCHITECTURE == "IBOT":
        masks = [MultiCrop(cfg).masks() for _ in range(4)]
        batch["masks"] = np.stack(masks).reshape(2, 2, *masks[0].shape)
        batch["masks"][0, 0, 0, 0] = True  # hidden patches, whatever was drawn
    parts = {"model": model, "optimizer": model.build_optimizer(cfg), "data_loader": None}
    step = PretrainStep(
        SimpleNamespace(**parts, _data_loader_iter=iter([batch])),
        dtype=None,
        clip=model.clip_norm(cfg),
    )
    model.momentum = model.schedule(cfg, Place(1, 100 * cfg.SOLVER.MAX_EPOCH, 100)).momentum
    for group in parts["optimizer"].param_groups:
        group["lr"] = 0.1  # at the start of its own schedule it may be 0
    trained = [p for group in parts["optimizer"].param_groups for p in group["params"]]
    before = [p.detach().clone() for p in trained]
    with EventStorage(0) as storage:
        step.run_step()
        assert not step.skipped and np.isfinite(storage.latest()["total_loss"][0])
    model.after_step(torch.tensor(True))
    moved = sum(not torch.equal(*pair) for pair in zip(before, trained, strict=True))
    # A ResNet's BatchNorm behind which MoCo v3 starts with 0 has no gradient yet.
    assert moved > 0.7 * len(trained)
    with torch.no_grad():
        features = model.eval()({"images": torch.rand(1, 3, *cfg.INPUT.SIZE_TEST) * 255})
    assert features.shape == (1, cfg.MODEL.BACKBONE.FEAT_DIM)


@pytest.mark.parametrize("path", [p for p in WHOLE if is_trained_whole(p)], ids=name_of)
def test_every_config_trains_a_step(path: Path) -> None:
    options = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DROP_PATH_RATIO", 0.0]
    # Whole are the first ViT-S of each stem, and the ResNet; other blocks are the same, or wider.
    if name_of(path) not in ("LUPerson/vit_small", "LUPerson/vit_small_ics", "LUPerson/r50"):
        options += ["MODEL.BACKBONE.NUM_BLOCKS", 2]
    cfg = load_config(path, options)
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
        if path.stem.startswith("moco_v2_r50_luperson"):
            continue  # LUPerson's own, as released
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
    assert (dino.CROP_RATIO, dino.KOLEO_WEIGHT) == ([3 / 4, 4 / 3], 0)  # torchvision's; none


def test_imagenet_has_square_views(tmp_path, monkeypatch) -> None:
    cfg = load_config(CONFIGS / "ImageNet" / "vit_small.yml")
    assert (cfg.INPUT.SIZE_TRAIN, cfg.DINO.LOCAL_SIZE) == ([224, 224], [96, 96])
    for folder in ("n01440764", "n01443537"):
        write_noise(tmp_path / "ImageNet" / "train" / folder, 2)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    assert len(open_images(cfg, cfg.DATASETS.NAMES[0])) == 4


def test_small_batches_get_what_the_facts_say() -> None:
    small = load_config(CONFIGS / "SmallBatch" / "vit_small.yml")
    usual = load_config(CONFIGS / "LUPerson" / "vit_small.yml")
    assert small.SOLVER.IMS_PER_BATCH == 64
    assert pytest.approx(0.9995 ** (64 / 256), abs=1e-6) == small.DINO.MOMENTUM
    assert small.DINO.OUT_DIM < usual.DINO.OUT_DIM
    assert small.DINO.TEACHER_TEMP == small.DINO.WARMUP_TEACHER_TEMP <= 0.04
