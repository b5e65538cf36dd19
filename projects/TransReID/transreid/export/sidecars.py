"""Files beside a graph, and names of files, that a consumer looks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reid_common.errors import UserError
from reid_common.files import replacing, write_json

from .onnx_export import OnnxReport
from .profiles import Profile

MAX_BATCH = 64  # images that Triton puts together at most, where the graph takes any number


def check_name(out: Path, profile: Profile) -> None:
    """Raise UserError for a name that the consumer would not find, or take for another model's."""
    if profile.name == "triton" and not (out.name == "model.onnx" and out.parent.name.isdecimal()):
        raise UserError(
            f"--out {str(out)!r}: Triton looks for REPOSITORY/NAME/VERSION/model.onnx; write, for "
            "example, -o models/reid/1/model.onnx"
        )
    if profile.name == "ultralytics" and out.name.startswith("yolo"):
        raise UserError(
            f"--out {str(out)!r}: Ultralytics downloads models of such names (yolo...); choose "
            "another one"
        )


def write_sidecar(
    report: OnnxReport, profile: Profile, image_size: Sequence[int], num_classes: int
) -> Path | None:
    """Write what the consumer reads beside the graph; returns its path, None where it is nothing.

    Args:
        report: of the export.
        profile: whose.
        image_size: (H, W) in pixels.
        num_classes: training identities.
    """
    if profile.name == "boxmot":
        path = report.path.with_name(f"{report.path.name}.metadata.json")
        write_json(path, _boxmot(image_size, num_classes))
    elif profile.name == "triton":
        path = report.path.parents[1] / "config.pbtxt"
        with replacing(path) as temporary:
            temporary.write_text(_triton(report, path.parent.name, profile, image_size))
    else:
        return None
    return path


def _boxmot(image_size: Sequence[int], num_classes: int) -> dict[str, Any]:
    """What BoxMOT would else guess from the file's name: the size of crops, how to resize them."""
    size = list(image_size)
    return {
        "schema_version": 1,
        "model_name": "transreid",
        "num_classes": num_classes,
        "preprocess": "resize",
        "img_size": size,
        "model_kwargs": {"img_size": size},
        "model_kwargs_schema_version": 1,
    }


def _triton(report: OnnxReport, name: str, profile: Profile, image_size: Sequence[int]) -> str:
    """Triton's model configuration; a fixed batch is part of the shapes, a free one is not."""
    batch = profile.batch
    shapes = {"images": [3, *image_size], "features": [report.feature_dim]}
    blocks = []
    for tensor in [*report.inputs, "features"]:
        lines = [f'name: "{tensor}"']
        if tensor in shapes:
            dims = [batch, *shapes[tensor]] if batch else shapes[tensor]
            lines += ["data_type: TYPE_FP32", f"dims: {dims}"]
        else:  # ids: one number an image, for which Triton needs a dimension
            lines += ["data_type: TYPE_INT64", f"dims: [{batch or 1}]"]
            lines += [] if batch else ["reshape { shape: [] }"]
        kind = "output" if tensor == "features" else "input"
        blocks.append(f"{kind} [\n  {{\n" + "".join(f"    {x}\n" for x in lines) + "  }\n]\n")
    head = [
        f'name: "{name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {0 if batch else MAX_BATCH}",
    ]
    tail = "" if batch else "dynamic_batching { }\n"
    return "\n".join(head) + "\n" + "".join(blocks) + tail
