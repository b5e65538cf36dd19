"""IBN convolution stem (ICS), which replaces the first half of a ViT's patch embedding.

Source: Luo et al., "Self-Supervised Pre-Training for Transformer-Based Person Re-Identification",
arXiv 2111.12084, and its released code, whose parameter names these are: ``0``, ``3``, ``6`` are
convolutions, ``1`` and ``4`` IBN, ``7`` a batch norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEM_CHANNELS = 64
STEM_STRIDE = 2


class IBN(nn.Module):
    """Instance norm for the first half of the channels, batch norm for the others.

    Args:
        channels: C, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sizes = (channels // 2, channels - channels // 2)
        self.IN = nn.InstanceNorm2d(self.sizes[0], affine=True)
        self.BN = nn.BatchNorm2d(self.sizes[1])

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps (B, C, H, W), normalised."""
        first, second = maps.split(self.sizes, dim=1)
        return torch.cat([self.IN(first.contiguous()), self.BN(second.contiguous())], dim=1)


def ics_stem(in_chans: int = 3, channels: int = STEM_CHANNELS) -> nn.Sequential:
    """Three convolutions: images (B, 3, H, W), H and W even -> maps (B, 64, H / 2, W / 2)."""
    return nn.Sequential(
        nn.Conv2d(in_chans, channels, 7, stride=STEM_STRIDE, padding=3, bias=False),
        IBN(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        IBN(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )
