"""Pictures of what a model has learnt: where it looks, and what its SIE table holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from reid_common.errors import UserError
from reid_common.pictures import plt, save_figure
from reid_core.side_information.rows import CameraTable
from reid_core.side_information.stored import decode_table
from torch import Tensor, nn

from ..inference.extractor import FeatureExtractor
from ..inference.image_inputs import to_rgb
from ..modeling.backbone import TransReIDBackbone
from ..modeling.features import side_embedding_of
from ..modeling.jpm_head import JPMHead
from ..modeling.side_embedding import SideInformationEmbedding
from .attention import attention_maps, to_pixels

OPACITY = 0.55  # of a map over its image
UNSEEN = 0.25  # brightness of what a part does not see
LEGEND = (
    "Each map from its lowest value (blue) to its highest (red); the numbers are these two:\n"
    "1 is attention spread evenly over the tokens. Dark: what a part does not see."
)
UNTRAINED = " (untrained)"
MAX_LABELS = 64  # beyond it the labels of a matrix cannot be read


@dataclass
class AttentionRow:
    """One image with its maps by name; 1 is what evenly spread attention gives to each token."""

    name: str  # caption
    image: np.ndarray  # (H, W, 3) uint8, as the model gets it
    maps: dict[str, np.ndarray]  # (H, W) float32, NaN where there is none


def attention_rows(
    extractor: FeatureExtractor, files: Sequence[str], camid: int | None, viewid: int | None
) -> Iterator[AttentionRow]:
    """Attention maps of one batch of image files.

    The model has its parts and is not compiled; 0-based camera and viewpoint are those of all
    images, None = unknown.

    Raises:
        UserError: the model has no TransReIDBackbone, no such camera or viewpoint.
    """
    images = torch.stack([extractor.transform(to_rgb(file)) for file in files])
    camids, viewids = extractor.checked_ids(camid, viewid, len(files))
    batch = {"images": images, "camids": camids, "viewids": viewids}
    maps = attention_maps(extractor.model, batch)
    backbone = cast(TransReIDBackbone, extractor.model.backbone)
    embed, prefix = backbone.patch_embed, backbone.num_prefix_tokens
    tokens = prefix + embed.num_patches
    named = {"rollout": maps.rollout * tokens, "last block": maps.last * tokens}
    if maps.parts is not None:
        tokens = prefix + embed.num_patches // cast(JPMHead, extractor.model.heads).num_parts
        named |= {f"part {j + 1}": part * tokens for j, part in enumerate(maps.parts.unbind(1))}
    drawn = {name: to_pixels(values, embed).cpu().numpy() for name, values in named.items()}
    shown = images.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()
    for i, file in enumerate(files):
        heats = {name: values[i] for name, values in drawn.items()}
        yield AttentionRow(Path(file).stem, shown[i], heats)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a map (H, W) over an image (H, W, 3) uint8: (H, W, 3) uint8.

    The lowest value becomes blue, the highest red; NaN darkens the image.
    """
    seen = np.isfinite(heat)
    low, high = (heat[seen].min(), heat[seen].max()) if seen.any() else (0.0, 0.0)
    scaled = np.where(seen, heat - low, 0.0) / max(high - low, np.finfo(np.float32).tiny)
    colours = 255 * matplotlib.colormaps["turbo"](scaled)[..., :3]
    grey = image.mean(axis=2, keepdims=True)
    mixed = np.where(seen[..., None], OPACITY * colours + (1 - OPACITY) * grey, UNSEEN * grey)
    return mixed.round().astype(np.uint8)


def draw_attention(rows: list[AttentionRow], out: Path, title: str) -> None:
    """Draw a grid with a row an image: the image, then its maps, the same ones in each row."""
    names = ["image", *rows[0].maps]
    height, width, _ = rows[0].image.shape
    shape = len(rows), len(names)
    size = max(1.25 * len(names), 5), 1.25 * height / width * len(rows) + 0.9
    figure, axes = plt.subplots(*shape, figsize=size, dpi=100, squeeze=False, layout="constrained")
    for line, row in zip(axes, rows, strict=True):
        for axis in line:
            axis.set(xticks=[], yticks=[])
        line[0].imshow(row.image)
        line[0].set_ylabel(row.name[-24:], fontsize=7)
        for axis, heat in zip(line[1:], row.maps.values(), strict=True):
            axis.imshow(overlay(row.image, heat))
            axis.set_xlabel(f"{np.nanmin(heat):.2f} to {np.nanmax(heat):.2f}", fontsize=7)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(LEGEND, fontsize=8)
    save_figure(figure, out)


def sie_of(model: nn.Module) -> SideInformationEmbedding:
    """The side information embedding of a model; UserError if it has none."""
    sie = side_embedding_of(model)
    if sie is None:
        raise UserError(
            "the model has no side information embedding; set MODEL.SIE.CAMERA or MODEL.SIE.VIEW "
            "as in training"
        )
    return sie


def sie_labels(sie: SideInformationEmbedding) -> list[str]:
    """Name of each row of an SIE table: data set and camera (1-based, as in file names), view.

    A row that no training image had, and that no image gets, is marked.
    """
    text = decode_table(sie.camera_table)
    cameras = [""]
    if sie.num_cameras:
        known = CameraTable.parse(text.split(",")).cameras() if text else []
        several = len({name for name, _ in known}) > 1
        cameras = [f"{name} c{i + 1}" if several else f"c{i + 1}" for name, i in known]
        cameras += [f"row {i}" for i in range(len(cameras), sie.num_cameras)]
    views = [f"v{i}" for i in range(sie.num_views)] or [""]
    names = [f"{camera} {view}".strip() for camera in cameras for view in views]
    known = sie.known().flatten().tolist()
    return [x if trained else f"{x}{UNTRAINED}" for x, trained in zip(names, known, strict=True)]


def cosines(rows: Tensor) -> Tensor:
    """Cosine of each row with each: (R, D) -> (R, R)."""
    rows = F.normalize(rows.float())
    return rows @ rows.T


def sie_statistics(sie: SideInformationEmbedding) -> str:
    """Norms of an SIE table and its mean cosines, of the rows that were trained, as lines of text.

    The norms are those of lambda * S, which is added to every token (equation 4).
    """
    table = sie.pairs().detach().flatten(0, 2).float().cpu()
    known = sie.known().flatten().cpu()
    norms = (sie.sie_coe * table[known]).norm(dim=1)
    initial = sie.sie_coe * 0.02 * table.shape[1] ** 0.5
    lines = [
        f"SIE table: {len(table)} rows ({sie.num_cameras} cameras, {sie.num_views} views) of "
        f"{table.shape[1]} dimensions, lambda {sie.sie_coe:g}",
        f"norm of lambda * S: mean {norms.mean():.3f}, least {norms.min():.3f}, most "
        f"{norms.max():.3f} (about {initial:.3f} before training)",
    ]
    if not known.all():
        unseen = [name.removesuffix(UNTRAINED) for name in sie_labels(sie) if UNTRAINED in name]
        lines.append(f"not in the training set, their images count as unknown: {', '.join(unseen)}")
    matrix = cosines(table)
    rows, num_views = torch.arange(len(table)), max(sie.num_views, 1)
    same_camera, same_view = (x[:, None] == x for x in (rows // num_views, rows % num_views))
    pairs = {"of two rows": rows[:, None] != rows}
    if sie.num_cameras and sie.num_views:
        pairs = {
            "same camera, other view": same_camera & ~same_view,
            "other camera, same view": ~same_camera & same_view,
            "other camera, other view": ~same_camera & ~same_view,
        }
    for name, pairs_of_kind in pairs.items():
        mask = pairs_of_kind & known & known[:, None]
        if mask.any():
            lines.append(f"mean cosine, {name}: {matrix[mask].mean():.3f}")
    return "\n".join(lines)


def draw_sie(sie: SideInformationEmbedding, out: Path, title: str) -> None:
    """Draw the cosines between the rows of an SIE table, cameras in order, then views."""
    labels = sie_labels(sie)
    matrix = cosines(sie.pairs().detach().flatten(0, 2).cpu()).numpy()
    size = float(np.clip(0.28 * len(labels), 4, 14))
    figure, axis = plt.subplots(figsize=(size + 2, size + 1), dpi=90, layout="constrained")
    shown = axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    step = -(-len(labels) // MAX_LABELS)
    if step > 1 and sie.num_cameras:  # the first view of each camera; its block has the others
        step = max(sie.num_views, 1) * -(-sie.num_cameras // MAX_LABELS)
    ticks = range(0, len(labels), step)
    axis.set_xticks(ticks, labels[::step], rotation=90, fontsize=8)
    axis.set_yticks(ticks, labels[::step], fontsize=8)
    if sie.num_cameras and sie.num_views > 1:
        for border in np.arange(1, sie.num_cameras) * sie.num_views - 0.5:
            axis.axhline(border, color="black", linewidth=0.6)
            axis.axvline(border, color="black", linewidth=0.6)
    figure.colorbar(shown, ax=axis, label="cosine", shrink=0.8)
    axis.set_title(title)
    save_figure(figure, out)
