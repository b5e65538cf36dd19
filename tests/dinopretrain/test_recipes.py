"""The configs of MoCo v2, MoCo v3, MoBY and iBOT say what their papers and released code say."""

from __future__ import annotations

from pathlib import Path

from fastreid.config import CfgNode
from reid_core.config import load_config

CONFIGS = Path(__file__).parents[2] / "projects" / "DINOPretrain" / "configs"


def recipe(name: str) -> CfgNode:
    return load_config(CONFIGS / f"{name}.yml")


def test_the_recipes_of_the_other_methods() -> None:
    """The facts of the papers and their released code."""
    v2, v3, moby, ibot = (
        recipe(f"ImageNet/{name}_vit_small") for name in ("moco_v2", "moco_v3", "moby", "ibot")
    )
    assert (v2.SOLVER.OPT, v2.SOLVER.BASE_LR, v2.SOLVER.WEIGHT_DECAY) == ("SGD", 0.03, 1e-4)
    assert (v2.MOCO.MOMENTUM, v2.MOCO.TEMPERATURE, v2.MOCO.QUEUE_SIZE) == (0.999, 0.2, 65536)
    assert (v2.SOLVER.IMS_PER_BATCH, v2.SOLVER.MAX_EPOCH, v2.MOCO.OUT_DIM) == (256, 200, 128)
    assert (v2.MOCO.VIEWS, v2.DINO.GLOBAL_SCALE, v2.SOLVER.AMP.ENABLED) == (
        "moco_v2",
        [0.2, 1.0],
        False,
    )
    assert (v3.SOLVER.OPT, v3.SOLVER.BASE_LR, v3.SOLVER.WEIGHT_DECAY) == ("AdamW", 1.5e-4, 0.1)
    assert (v3.SOLVER.MAX_EPOCH, v3.SOLVER.WARMUP_EPOCHS) == (300, 40)
    assert (v3.MODEL.BACKBONE.NUM_HEADS, v3.MOCO.MOMENTUM, v3.MOCO.TEMPERATURE) == (12, 0.99, 0.2)
    assert recipe("LUPerson/moco_v3_vit_small").SOLVER.IMS_PER_BATCH == 1024
    r50 = recipe("ImageNet/moco_v3_r50")
    assert (r50.SOLVER.OPT, r50.SOLVER.BASE_LR, r50.SOLVER.WEIGHT_DECAY) == ("LARS", 0.3, 1e-6)
    assert (r50.SOLVER.WARMUP_EPOCHS, r50.MOCO.TEMPERATURE) == (10, 1.0)
    assert (moby.SOLVER.OPT, moby.SOLVER.BASE_LR, moby.SOLVER.WEIGHT_DECAY) == ("AdamW", 1e-3, 0.05)
    assert (moby.SOLVER.IMS_PER_BATCH, moby.SOLVER.MAX_EPOCH, moby.SOLVER.WARMUP_EPOCHS) == (
        512,
        300,
        5,
    )
    assert (moby.MOCO.QUEUE_SIZE, moby.MOCO.CLIP_GRADIENT) == (4096, 5.0)
    assert moby.MODEL.BACKBONE.DROP_PATH_RATIO == 0.2
    assert (ibot.DINO.OUT_DIM, ibot.DINO.NORM_LAST_LAYER, ibot.IBOT.SHARED_HEAD) == (
        8192,
        False,
        True,
    )
    assert (ibot.IBOT.MASK_RATIO, ibot.IBOT.MASK_RATIO_RANGE) == ([0.0, 0.3], [0.0, 0.2])
    assert (ibot.DINO.LOCAL_VIEWS, ibot.SOLVER.MAX_EPOCH) == (10, 800)


def test_from_dino_to_ibot_are_a_few_lines() -> None:
    dino, ibot = recipe("LUPerson/vit_small"), recipe("LUPerson/ibot_vit_small")
    flat = [{key: str(value) for key, value in flattened(cfg).items()} for cfg in (dino, ibot)]
    differing = {key for key, value in flat[1].items() if flat[0][key] != value}
    assert differing == {
        "MODEL.META_ARCHITECTURE",
        "DINO.OUT_DIM",
        "DINO.NORM_LAST_LAYER",
        "DINO.TEACHER_TEMP",
        "DINO.WARMUP_TEACHER_TEMP_EPOCHS",
        "OUTPUT_DIR",
    }


def flattened(node: CfgNode, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in node.items():
        if isinstance(value, CfgNode):
            found |= flattened(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
