"""TransReID models built from the golden files: the released weights and outputs in our modules."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transreid import BNNeckHead, JPMHead, TransReID, TransReIDBackbone
from transreid.modeling.side_embedding import SideInformationEmbedding
from transreid.weights.released import from_released

GOLDEN = Path(__file__).parents[1] / "golden"
MODELS = (
    "transreid_jpm_sie_camera",
    "transreid_jpm_sie_camera_view",
    "transreid_baseline",
    "transreid_baseline_sie_view",
)


class GoldenModel:
    """One golden file: ``arrays`` (float32), ``meta`` (sizes), and a model with its weights."""

    def __init__(self, name: str, **weights: float) -> None:
        with np.load(GOLDEN / f"{name}.npz") as file:
            self.meta = json.loads(str(file["meta"]))
            self.arrays = {k: _tensor(file[k]) for k in file.files if k != "meta"}
        self.model = build(self.meta, **weights)
        state = self.released_state()
        incompatible = self.model.load_state_dict(from_released(state), strict=False)
        assert not incompatible.unexpected_keys
        assert set(incompatible.missing_keys) <= {"backbone.sie.camera_table"}

    def released_state(self) -> dict[str, Tensor]:
        return {k.removeprefix("state/"): v for k, v in self.with_prefix("state/").items()}

    def with_prefix(self, prefix: str) -> dict[str, Tensor]:
        return {k: v for k, v in self.arrays.items() if k.startswith(prefix)}

    @property
    def batch(self) -> dict[str, Tensor]:
        keys = {"images": "images", "targets": "labels", "camids": "camids", "viewids": "viewids"}
        return {ours: self.arrays[theirs].clone() for ours, theirs in keys.items()}


def build(meta: dict, global_weight: float = 1.0, local_weight: float = 1.0) -> TransReID:
    """The model that a golden file's meta describes; weights are random."""
    vit = VisionTransformer(
        img_size=meta["img"],
        patch_size=meta["patch"],
        num_classes=0,
        embed_dim=meta["dim"],
        depth=meta["depth"],
        num_heads=meta["heads"],
        mlp_ratio=meta["mlp_ratio"],
        norm_layer=partial(nn.LayerNorm, eps=meta["ln_eps"]),
    )
    sie = None
    if meta["cam"] or meta["view"]:
        sie = SideInformationEmbedding(meta["cam"], meta["view"], meta["dim"], meta["sie"])
    backbone = TransReIDBackbone(vit, meta["img"], meta["stride"], sie)
    sizes = {"feat_dim": meta["dim"], "num_classes": meta["num_classes"]}
    if meta["jpm"]:
        heads: nn.Module = JPMHead(
            **sizes,
            num_parts=meta["divide"],
            shift_num=meta["shift"],
            shuffle_groups=meta["groups"],
        )
    else:
        heads = BNNeckHead(**sizes)
    loss_kwargs = {
        "loss_names": ("CrossEntropyLoss", "TripletLoss"),
        "ce": {"eps": 0.0, "alpha": 0.2, "scale": 1.0},
        # margin 0 = soft margin
        "tri": {
            "margin": meta["margin"] or 0.0,
            "norm_feat": False,
            "hard_mining": True,
            "scale": 1.0,
        },
    }
    return TransReID(
        backbone=backbone,
        heads=heads,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
        loss_kwargs=loss_kwargs,
        global_weight=global_weight,
        local_weight=local_weight,
    )


def _tensor(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.array(array))
    return tensor.float() if tensor.is_floating_point() else tensor
