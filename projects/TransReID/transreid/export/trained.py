"""A trained model, from config and checkpoint, as one ONNX file that describes itself."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from reid_common.errors import UserError
from reid_common.published import CONFIG
from reid_core.side_information.trained import trained_ids

from ..data.resizing import resizing_of
from ..inference.extraction import describe
from ..inference.extractor import FeatureExtractor
from ..modeling.side_embedding import SideInformationEmbedding
from ..weights.identities import num_identities
from .onnx_export import export_onnx
from .profiles import PLAIN, Profile, find_profile
from .resize import KERNELS, kernel_of
from .sidecars import check_name, write_sidecar


def export_trained(
    out: Path,
    config_file: str,
    weights: str | None = None,
    options: Sequence[str] = (),
    *,
    global_only: bool = False,
    profile: str = PLAIN,
    input_range: str | None = None,
    batch: int | None = None,
    **choices: Any,
) -> None:
    """Export a trained model, hold it against PyTorch, and print what was written.

    Args:
        out: file to write, .onnx.
        config_file: YAML of the model; "" takes that of published ``weights``.
        weights: checkpoint, or a folder of published weights; None: MODEL.WEIGHTS.
        options: KEY VALUE pairs.
        global_only: leave out the parts of JPM.
        profile, input_range, batch: see :func:`~transreid.export.profiles.find_profile`.
        **choices: camera, view and opset of :func:`~transreid.export.onnx_export.export_onnx`.

    Raises:
        UserError: see there; a name that the consumer would not find or take.
    """
    if out.suffix != ".onnx":
        raise UserError(f"--out {str(out)!r}: name it so that it ends in .onnx")
    chosen = find_profile(profile, input_range, batch)
    check_name(out, chosen)
    extractor = FeatureExtractor(
        config_file,
        weights,
        device="cpu",
        global_only=global_only,
        options=[*options, "MODEL.COMPILE", "False"],
    )
    cfg = extractor.cfg
    size, known = cfg.INPUT.SIZE_TEST, metadata(extractor, config_file, chosen)
    report = export_onnx(
        extractor.model,
        out,
        size,
        flip=cfg.TEST.FLIP.ENABLED,
        profile=chosen,
        kernel=kernel_of(extractor.transform, size) if chosen.raw else next(iter(KERNELS)),
        metadata=known,
        **choices,
    )
    sidecar = write_sidecar(report, chosen, size, int(known["num_classes"]))
    print(
        f"{report.path}: {', '.join(report.inputs)} -> features of {report.feature_dim} numbers "
        f"({os.path.getsize(report.path) / 2**20:.1f} MiB)\n"
        f"for {chosen.consumer}: images are {chosen.color}, {chosen.layout}"
        + (f"; with {sidecar}" if sidecar else "")
        + f"\nONNX Runtime against PyTorch: at most {report.difference:.1e} apart"
    )


def metadata(extractor: FeatureExtractor, config_file: str, profile: Profile) -> dict[str, str]:
    """What a program that runs the graph needs to know of it, as ONNX's text properties."""
    cfg = extractor.cfg
    about = describe(extractor, [])
    sie = getattr(extractor.model.backbone, "sie", None)
    properties = {
        "image_size": list(cfg.INPUT.SIZE_TEST),  # height, width in pixels
        "profile": profile.name,
        "color": profile.color,
        "layout": profile.layout,
        "transform": " ".join(repr(extractor.transform).split()),
        "pixel_mean": list(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": list(cfg.MODEL.PIXEL_STD),
        "interpolation": resizing_of(extractor.transform).interpolation,
        "num_classes": num_identities(cfg.MODEL.WEIGHTS),
        "num_cameras": getattr(sie, "num_cameras", 0),
        "num_views": getattr(sie, "num_views", 0),
        "cameras": list(extractor.cameras),
        **_trained(sie),
        "unknown": getattr(sie, "unknown", ""),
        "flip": bool(cfg.TEST.FLIP.ENABLED),
        "config_name": Path(config_file or CONFIG).name,
        "config": about["config"],
        "weights_sha256": about["weights_sha256"],
        "versions": about["versions"],
    }
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in properties.items()}


def _trained(sie: SideInformationEmbedding | None) -> dict[str, list[Any]]:
    """Which cameras and viewpoints, 0-based, training images had, and which pairs had none."""
    known = torch.zeros(0, 0).bool() if sie is None else sie.known().cpu()
    apart = known.any(1)[:, None] & known.any(0) & ~known
    cameras, views = trained_ids(known)
    return {
        "trained_cameras": cameras if sie and sie.num_cameras else [],
        "trained_views": views if sie and sie.num_views else [],
        "untrained_pairs": apart.nonzero().tolist(),
    }
