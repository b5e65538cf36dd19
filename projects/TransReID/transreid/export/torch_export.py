"""Export with torch.export: a model as one .pt2 file, for PyTorch without this package.

The program takes what the ONNX graph takes, and carries the same metadata, as JSON in the file.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from reid_common.errors import UserError
from reid_common.files import replacing
from torch import nn

from .onnx_export import OnnxReport, examples_of, largest_difference
from .onnx_model import OnnxModel
from .profiles import Profile
from .received import Received

PROPERTIES = "reid.json"  # the file within the file


@torch.no_grad()
def export_program(
    model: nn.Module,
    path: str | os.PathLike[str],
    image_size: Sequence[int],
    *,
    profile: Profile,
    camera: int | str | None = None,
    view: int | str | None = None,
    flip: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> OnnxReport:
    """Write a model as .pt2 and hold it against the model; arguments as for ``export_onnx``.

    Raises:
        UserError: a profile with raw crops, an argument that cannot work, a model that torch.export
            does not know, or features that differ by more than 1e-4.
    """
    if profile.raw:
        raise UserError(f"--profile {profile.name} resizes in the graph, which needs a .onnx file")
    path, model = Path(path), copy.deepcopy(model).cpu().float().eval()
    received = Received(profile, image_size, "bilinear")
    wrapped = OnnxModel(model, received, camera, view, flip).eval()
    examples = examples_of(model, wrapped)
    inputs = examples[-1][0]  # of several images, where the number is free
    batch = None if profile.batch else {0: torch.export.Dim("batch", min=1)}
    shapes: Any = {"images": batch, "ids": tuple(batch for _ in wrapped.inputs[1:])}
    try:
        program = torch.export.export(
            wrapped, tuple(inputs.values()), dynamic_shapes=shapes, strict=False
        )
    except Exception as error:  # torch.export raises anything for models that it does not know
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"torch.export does not know this model: {reason}; export it as .onnx"
        ) from error
    about = {
        **(metadata or {}),
        "feature_dim": str(examples[0][1].shape[1]),
        "inputs": json.dumps(wrapped.inputs),
        "batch": str(profile.batch),
    }
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:  # by name it would ask for .pt2 at the end
            torch.export.save(program, file, extra_files={PROPERTIES: json.dumps(about)})
        loaded = torch.export.load(open(temporary, "rb")).module()  # noqa: SIM115
        difference = largest_difference(
            lambda given: loaded(*given.values()), examples, "torch.export", "Export it as .onnx"
        )
    return OnnxReport(path, wrapped.inputs, examples[0][1].shape[1], difference, examples)
