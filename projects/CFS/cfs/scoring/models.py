"""The two models of the score, theta_s and theta_t: images to features before BN.

Of a ViT that is the whole [cls] after the last norm (of a model with JPM: of its global branch), of
FastReID's CNNs the pooled map of the backbone: what goes into the BNNeck. So backbones are enough,
and a file of one alone (teacher_backbone.pth, a released DINO) serves as well as a whole model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from dinopretrain.methods import is_pretraining
from fastreid.config import CfgNode
from fastreid.layers import pooling
from fastreid.modeling.backbones import build_backbone
from fastreid_compat.repairs.checkpoints.backbone_weights import load_backbone
from fastreid_compat.repairs.checkpoints.checkpoint_files import read_file, unwrapped
from reid_common.digests import file_digest
from reid_common.errors import UserError
from reid_core.run.feature_inputs import relevant_config
from reid_core.side_information.resolve import fill_from_weights
from torch import Tensor, nn
from transreid.inference.trained_model import inference_config
from transreid.modeling.backbone import TransReIDBackbone
from transreid.weights.checkpoint import load_weights
from transreid.weights.formats import recognise, stored_side_information

logger = logging.getLogger(__name__)

POOL = "heads.pool_layer."
UNKNOWN = -1  # camera and viewpoint of an image that is scored


class FeatureModel(nn.Module):
    """A backbone with its normalisation and pooling.

    Args:
        backbone: images (B, 3, H, W), normalised -> maps (B, D, h, w).
        pool: maps -> (B, D, 1, 1).
        pixel_mean: of each channel, pixels 0..255.
        pixel_std: of each channel.

    Attributes:
        name: what messages call it: "source" or "target".
        weights, weights_sha256: file that it was loaded from.
        config: what its features depend on, in plain types.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, backbone: nn.Module, pool: nn.Module, pixel_mean: list[float], pixel_std: list[float]
    ) -> None:
        super().__init__()
        self.backbone, self.pool = backbone, pool
        for key, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(key, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        self.name = self.weights = self.weights_sha256 = ""
        self.config: dict[str, Any] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), pixels 0..255 -> features before BN (B, D)."""
        images = (images - self.pixel_mean) / self.pixel_std
        if getattr(self.backbone, "sie", None) is None:
            maps = self.backbone(images)
        else:
            unknown = torch.full((len(images),), UNKNOWN, device=images.device)
            maps = self.backbone(images, unknown, unknown)
        return self.pool(maps).flatten(1)


def build_feature_model(cfg: CfgNode, weights: str, name: str) -> FeatureModel:
    """Build one of the two models, in eval mode; messages call it ``name``.

    Args:
        cfg: config of a TransReID, DINO or other FastReID model; it stays as it is.
        weights: checkpoint of any format that transreid.load_weights, FastReID or DINO knows.

    Raises:
        UserError: no such file, weights that do not fit the backbone of the config.
    """
    cfg = inference_config(cfg, weights)
    weights = cfg.MODEL.WEIGHTS  # a file, also where a folder of published weights was named
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = ""
    state = unwrapped(read_file(weights), weights)["model"]
    if cfg.MODEL.SIE.CAMERA or cfg.MODEL.SIE.VIEW:
        fill_from_weights(cfg, stored_side_information(recognise(state, weights).state))
    backbone = build_backbone(cfg)
    pool = _pool(cfg, backbone)
    if isinstance(backbone, TransReIDBackbone):
        load_weights(backbone, recognise(state, weights))
    else:
        _load_cnn(backbone, pool, state, weights)
    model = FeatureModel(backbone, pool, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD).eval()
    model.name, model.weights, model.weights_sha256 = name, weights, file_digest(weights)
    model.config = relevant_config(cfg)
    return model


def _pool(cfg: CfgNode, backbone: nn.Module) -> nn.Module:
    """Nothing for a ViT; for a CNN pre-training's mean, or the pooling of the config's head."""
    if isinstance(backbone, TransReIDBackbone):
        return nn.Identity()
    if is_pretraining(cfg):
        return nn.AdaptiveAvgPool2d(1)
    name = cfg.MODEL.HEADS.POOL_LAYER
    if name not in pooling.__all__:
        raise UserError(
            f"MODEL.HEADS.POOL_LAYER is {name!r}; choose one of {', '.join(pooling.__all__)}"
        )
    return getattr(pooling, name)()


def _load_cnn(backbone: nn.Module, pool: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Load weights into a backbone of FastReID and its pooling, where the file has some for it.

    ``pool`` pools its maps; it learns in GeneralizedMeanPoolingP. ``state`` is that of the file
    ``source``, unwrapped.

    Raises:
        UserError: the file's backbone is another one.
    """
    load_backbone(backbone, state, source)
    tensors = {str(key).removeprefix("module."): value for key, value in state.items()}
    pooling = {key: tensors[POOL + key] for key in pool.state_dict() if POOL + key in tensors}
    pool.load_state_dict(pooling, strict=False)
    if len(pooling) < len(pool.state_dict()):
        logger.warning("%s has no %s*: pooling stays as it is initialised", source, POOL)


def build_pair(
    source_cfg: CfgNode, source_weights: str, target_cfg: CfgNode, target_weights: str
) -> tuple[FeatureModel, FeatureModel]:
    """Build theta_s and theta_t, which see one and the same resized image.

    INPUT.SIZE_TEST and TRANSFORM of ``source_cfg`` resize it; each config normalises by its own
    MODEL.PIXEL_MEAN and PIXEL_STD.

    Raises:
        UserError: the configs have different INPUT.SIZE_TEST; see :func:`build_feature_model`.
    """
    sizes = [list(cfg.INPUT.SIZE_TEST) for cfg in (source_cfg, target_cfg)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"INPUT.SIZE_TEST is {sizes[0]} for the source model and {sizes[1]} for the target "
            "model; an image is resized once for both: make them equal"
        )
    source = build_feature_model(source_cfg, source_weights, "source")
    target = build_feature_model(target_cfg, target_weights, "target")
    names = [model.config["INPUT"]["TRANSFORM"] for model in (source, target)]
    if names[0] != names[1]:
        logger.warning("images are resized as INPUT.TRANSFORM %s, for both models", names[0])
    for model in (source, target):
        logger.info(
            "%s model: %s, normalised by PIXEL_MEAN %s and PIXEL_STD %s",
            model.name,
            model.weights,
            *([round(x, 3) for x in model.config["MODEL"][k]] for k in ("PIXEL_MEAN", "PIXEL_STD")),
        )
    return source, target


def cosines(source: Tensor, target: Tensor) -> Tensor:
    """c(x) of arXiv 2111.12084, algorithm 1: the cosine of each image's two features (B, D).

    Returns:
        (B,) float32 in -1..1; NaN where a feature is zero or not finite.
    """
    # In double precision a feature's cosine with itself rounds to 1 exactly.
    source, target = source.double(), target.double()
    norms = source.square().sum(1).sqrt() * target.square().sum(1).sqrt()
    return ((source * target).sum(1) / norms).clamp(-1, 1).float()


def check_features(features: Tensor, names: list[str], model: FeatureModel) -> None:
    """Raise UserError if one of a model's features (B, D), of images ``names``, has no cosine."""
    finite = features.isfinite().all(1)
    usable = finite & features.ne(0).any(1)
    if bool(usable.all()):
        return
    index = int(usable.logical_not().nonzero()[0])
    what = "all zero" if finite[index] else "not finite (NaN or infinite)"
    raise UserError(
        f"the features of image {names[index]!r} by the {model.name} model ({model.weights}) are "
        f"{what}: are its weights those of a run that diverged? In fp16 numbers above 65504 are "
        "infinite: use --precision fp32 or bf16"
    )
