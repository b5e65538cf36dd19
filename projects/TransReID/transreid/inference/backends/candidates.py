"""The settings of a PyTorch model that auto chooses from, and how each is built."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from reid_common.errors import UserError
from torch import nn

from ...export.onnx_export import export_onnx
from ...export.profiles import find_profile
from ...modeling.features import side_embedding_of
from .backend import AUTO, ONNX_RUNTIME, OPENVINO, TORCH, Backend, installed
from .choices import cache_folder
from .files import open_runner
from .graph_model import GraphModel
from .measuring import Candidate
from .torch_model import TorchModel

# Backend -> precisions that are tried, by the kind of device. float16 is not among those of CPUs:
# PyTorch's matrix products are slow in it on those without kernels of their own.
TRIED: dict[str, dict[str, tuple[str, ...]]] = {
    "cpu": {TORCH: ("fp32", "bf16"), ONNX_RUNTIME: ("fp32",), OPENVINO: ("fp32", "bf16")},
    "cuda": {TORCH: ("fp32", "bf16", "fp16")},
}


class GraphFile:
    """The ONNX file of a model, written when it is first asked for; removed unless it is kept.

    Args:
        model: it.
        name: of the file in the cache.
        image_size: (H, W) in pixels.
        flip: TEST.FLIP.
    """

    def __init__(self, model: nn.Module, name: str, image_size: Sequence[int], flip: bool) -> None:
        self._model, self._flip, self._size = model, flip, tuple(image_size)
        self._kept = cache_folder() / "graphs" / f"{name}.onnx"
        # Of this process: another one may write the same.
        self._new = self._kept.with_name(f"{name}.{platform.node()}.{os.getpid()}.onnx")

    @functools.cached_property
    def path(self) -> Path:
        """The file; that of an earlier choice where it is there."""
        if self._kept.is_file():
            return self._kept
        profile = find_profile()
        about = {"image_size": json.dumps(self._size), "color": profile.color}
        try:
            export_onnx(
                self._model, self._new, self._size, flip=self._flip, profile=profile, metadata=about
            )
        except UserError:
            raise
        except Exception as error:  # the tracer raises anything for models that it does not know
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"the model cannot be exported: {reason}") from error
        return self._new

    def keep(self) -> None:
        """Let the file stay for the next process."""
        if self._new.is_file():
            os.replace(self._new, self._kept)

    def discard(self) -> None:
        """Remove a file that is not kept."""
        for file in (self._new, self._new.with_name(f"{self._new.stem}.unchecked.onnx")):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def settings(device: torch.device, backend: str, precision: str) -> list[tuple[str, str]]:
    """(backend, precision) of what is tried where the user names one of them, or none (auto).

    The first is float32 in PyTorch, if it is among them. OpenVINO only where it is installed.

    Raises:
        UserError: nothing fits what was named.
    """
    tried = TRIED.get(device.type, {TORCH: ("fp32",)})
    found = [
        (one, kind)
        for one, kinds in tried.items()
        for kind in kinds
        if backend in (AUTO, one) and precision in (AUTO, kind)
    ]
    found = [x for x in found if installed(x[0])]
    if not found:
        raise UserError(
            f"backend {backend} with precision {precision}: there is nothing to choose from on "
            f"{device.type}; name both, or leave both at auto"
        )
    return found


def knows_unknown_ids(model: nn.Module) -> bool:
    """Whether a graph can take every id: with MODEL.SIE.UNKNOWN error it cannot refuse one."""
    return getattr(side_embedding_of(model), "unknown", "") != "error"


def built(
    chosen: tuple[str, str], model: nn.Module, device: torch.device, flip: bool, graph: GraphFile
) -> Backend:
    """Build one setting.

    Raises:
        UserError: it is not available on this machine, or for this model.
    """
    backend, precision = chosen
    if backend == TORCH:
        return TorchModel(model, device, precision, flip)
    if device.type != "cpu":
        raise UserError(f"backend {backend} runs on the CPU; the device is {device}")
    if precision not in TRIED["cpu"][backend] and backend == ONNX_RUNTIME:
        raise UserError(f"backend {backend} runs a model in fp32 alone, not in {precision}")
    if not knows_unknown_ids(model):
        raise UserError("MODEL.SIE.UNKNOWN is error, which a graph cannot do")
    runner = open_runner(graph.path, backend, torch.get_num_threads(), precision)
    return GraphModel(runner)


def candidates(
    tried: Sequence[tuple[str, str]],
    model: nn.Module,
    device: torch.device,
    flip: bool,
    graph: GraphFile,
) -> list[Candidate]:
    """What is measured beside float32 in PyTorch."""
    return [
        Candidate(*one, functools.partial(built, one, model, device, flip, graph))
        for one in tried
        if one != (TORCH, "fp32")
    ]
