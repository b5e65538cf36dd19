"""What the model of a file computes, and no shape of its tensors shows: checked, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reid_common.errors import UserError
from torch import nn

from ..modeling.backbone import TransReIDBackbone

Pixels = tuple[tuple[float, float, float], tuple[float, float, float]]
# PIXEL_MEAN and PIXEL_STD of TransReID's relatives, and ImageNet's
HALF: Pixels = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
IMAGENET: Pixels = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@dataclass(frozen=True)
class Reading:
    """How the tensors of a file are to be read; 0, "" or None where the file does not say it."""

    num_heads: int = 0  # of the attention
    activation: str = ""  # class of the MLP's activation
    eps: float = 0.0  # of the norms
    sie_tokens: str = ""  # what MODEL.SIE.TOKENS was
    part_tokens: int = 0  # prefix tokens behind [cls], with positions of their own
    pixels: Pixels | None = None  # PIXEL_MEAN and PIXEL_STD


def check_reading(
    reading: Reading, model: nn.Module, backbone: TransReIDBackbone, what: str
) -> None:
    """Raise UserError where a model would read the tensors of a file in another way.

    Args:
        reading: of the file.
        model: the model, or its backbone alone, whose pixels are then nobody's business.
        backbone: of the model.
        what: the file, and what it was recognised as.
    """
    first: Any = backbone.blocks[0] if len(backbone.blocks) else None
    if first is not None:
        _check_block(reading, first, what)
    eps = getattr(backbone.norm, "eps", reading.eps)
    if reading.eps and eps != reading.eps:
        raise UserError(
            f"{what} has norms with epsilon {reading.eps:g}, this model {eps:g}: {SAME_SHAPES}. "
            "Choose the MODEL.BACKBONE.TIMM_NAME that it was made with"
        )
    if reading.sie_tokens and backbone.sie is not None:
        _check_sie(reading.sie_tokens, backbone.sie_tokens, what)
    check_pixels(reading, model, what)


def check_pixels(reading: Reading, model: nn.Module, what: str) -> None:
    """Raise UserError where a whole model normalises pixels in another way than a file's did."""
    mean, std = (getattr(model, name, None) for name in ("pixel_mean", "pixel_std"))
    if reading.pixels is not None and mean is not None and std is not None:
        ours = [*mean.flatten().tolist(), *std.flatten().tolist()]
        theirs = [*reading.pixels[0], *reading.pixels[1]]
        if any(abs(a - b) > 0.01 for a, b in zip(ours, theirs, strict=True)):
            raise UserError(
                f"{what} was trained on pixels with mean {theirs[:3]} and deviation "
                f"{theirs[3:]}, this model has {ours[:3]} and {ours[3:]}. Set MODEL.PIXEL_MEAN "
                f"{theirs[:3]} and MODEL.PIXEL_STD {theirs[3:]}"
            )


SAME_SHAPES = "all shapes are equal, but the features would be wrong"
ACTIVATIONS = {
    "QuickGELU": "vit_base_patch16_clip_quickgelu_224 (the name without quickgelu has GELU)"
}


def _check_block(reading: Reading, block: Any, what: str) -> None:
    heads, activation = block.attn.num_heads, type(block.mlp.act).__name__
    if reading.num_heads not in (0, heads):
        raise UserError(
            f"{what} was trained with {reading.num_heads} heads, this model has {heads}: "
            f"{SAME_SHAPES}. Set MODEL.BACKBONE.NUM_HEADS {reading.num_heads}"
        )
    if reading.activation not in ("", activation):
        raise UserError(
            f"{what} has {reading.activation} in its MLPs, this model {activation}: {SAME_SHAPES}. "
            f"Set MODEL.BACKBONE.TIMM_NAME {ACTIVATIONS.get(reading.activation, 'as it was made')}"
        )


def _check_sie(theirs: str, ours: str, what: str) -> None:
    if theirs != ours:
        raise UserError(
            f"{what} adds side information to "
            f"{'[cls] alone' if theirs == 'cls' else 'all tokens'}; set MODEL.SIE.TOKENS {theirs}"
        )
