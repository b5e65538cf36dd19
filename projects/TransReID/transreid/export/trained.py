"""A trained model, from config and checkpoint, as one ONNX file that describes itself."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from reid_common.errors import UserError

from ..inference.extractor import FeatureExtractor
from ..inference.run_meta import describe
from ..modeling.backbone import TransReIDBackbone
from ..weights.formats import read_weights
from .onnx_export import export_onnx


def export_trained(
    out: Path,
    config_file: str,
    weights: str | None = None,
    options: Sequence[str] = (),
    *,
    global_only: bool = False,
    camera: int | str | None = None,
    view: int | str | None = None,
    opset: int = 17,
) -> None:
    """Export a trained model, hold it against PyTorch, and print what was written.

    Args:
        out: file to write, .onnx.
        config_file: YAML of the model.
        weights: checkpoint; None: MODEL.WEIGHTS.
        options: KEY VALUE pairs.
        global_only: leave out the parts of JPM.
        camera: "input", "off" = unknown, or the 0-based camera that all images are from.
        view: likewise for the viewpoint.
        opset: version of ONNX's operators, 14..20.

    Raises:
        UserError: see :func:`~transreid.export.onnx_export.export_onnx`; a name of another suffix.
    """
    if out.suffix != ".onnx":
        raise UserError(f"--out {str(out)!r}: name it so that it ends in .onnx")
    extractor = FeatureExtractor(
        config_file,
        weights,
        device="cpu",
        global_only=global_only,
        options=[*options, "MODEL.COMPILE", "False"],
    )
    cfg = extractor.cfg
    report = export_onnx(
        extractor.model,
        out,
        cfg.INPUT.SIZE_TEST,
        camera=camera,
        view=view,
        flip=cfg.TEST.FLIP.ENABLED,
        opset=opset,
        metadata=metadata(extractor, config_file),
    )
    print(
        f"{report.path}: {', '.join(report.inputs)} -> features of {report.feature_dim} numbers "
        f"({os.path.getsize(report.path) / 2**20:.1f} MiB)\n"
        f"ONNX Runtime against PyTorch: at most {report.difference:.1e} apart"
    )


def metadata(extractor: FeatureExtractor, config_file: str) -> dict[str, str]:
    """What a program that runs the graph needs to know of it, as ONNX's text properties."""
    cfg = extractor.cfg
    about = describe(extractor, [])
    sie = getattr(extractor.model.backbone, "sie", None)
    properties = {
        "image_size": list(cfg.INPUT.SIZE_TEST),  # height, width in pixels
        "color": "RGB, 0..255",
        "transform": " ".join(repr(extractor.transform).split()),
        "pixel_mean": list(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": list(cfg.MODEL.PIXEL_STD),
        "num_classes": num_classes(extractor),
        "num_cameras": 0 if sie is None else sie.num_cameras,
        "num_views": 0 if sie is None else sie.num_views,
        "cameras": list(extractor.cameras),
        "unknown": "" if sie is None else sie.unknown,
        "flip": bool(cfg.TEST.FLIP.ENABLED),
        "config_name": Path(config_file).name,
        "config": about["config"],
        "weights_sha256": about["weights_sha256"],
        "versions": about["versions"],
    }
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in properties.items()}


def num_classes(extractor: FeatureExtractor) -> int:
    """Identities that the weights were trained on; 0 for FastReID's models and without classifier.

    The model has no classifier any more: the checkpoint tells.
    """
    if not isinstance(extractor.model.backbone, TransReIDBackbone):
        return 0
    state = read_weights(extractor.cfg.MODEL.WEIGHTS).state
    return max((len(v) for k, v in state.items() if k.endswith("classifier.weight")), default=0)
