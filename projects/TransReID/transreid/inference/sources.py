"""Where features come from: a trained model, or an exported file; what both tell an extractor."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data import build as data_build
from PIL import Image
from reid_common.digests import file_digest
from reid_common.errors import UserError
from reid_core.run.feature_inputs import relevant_config, state_digest
from reid_core.side_information.trained import trained_ids
from torch import Tensor, nn

from ..export.profiles import PLAIN, check_profile
from ..modeling.features import side_embedding_of
from .backends.automatic import Automatic
from .backends.backend import AUTO, TORCH, Backend
from .backends.candidates import GraphFile, built
from .backends.choices import graph_name
from .backends.files import open_runner
from .backends.graph_model import GraphModel
from .backends.torch_model import TorchModel


@dataclass
class Source:
    """What an extractor needs of a model.

    Attributes:
        compute: from pixels to features.
        transform: from a PIL image to pixels (3, H, W), 0..255.
        image_size: (H, W) in pixels.
        tables: rows of cameras and of viewpoints, 0 where they are not embedded.
        trained: cameras and viewpoints that training images had.
        known_ids: a camera and a viewpoint that have a row, where they are embedded.
        cameras: which cameras the rows are, as in DATASETS.CAMERAS.
        about: returns what the features depend on: "config", "weights", "weights_sha256".
        feature_dim: D; 0: to be measured.
        model, cfg: of a trained model; an exported file has none.
    """

    compute: Backend
    transform: Callable[[Image.Image], Tensor]
    image_size: tuple[int, int]
    about: Callable[[], dict[str, Any]]
    tables: tuple[int, int] = (0, 0)
    trained: list[list[int]] = field(default_factory=lambda: [[], []])
    known_ids: tuple[int, int] = (0, 0)
    cameras: tuple[str, ...] = ()
    feature_dim: int = 0
    model: nn.Module | None = None
    cfg: CfgNode | None = None


def trained_source(
    model: nn.Module,
    cfg: CfgNode,
    device: torch.device,
    backend: str = TORCH,
    precision: str = "fp32",
    remeasure: bool = False,
) -> Source:
    """Of a model in eval mode on ``device``, with its frozen config.

    Raises:
        UserError: a backend that is not available on this machine, or for this model.
    """

    def about() -> dict[str, Any]:
        path = cfg.MODEL.WEIGHTS
        digest = file_digest(path) if path else state_digest(model)
        return {"config": relevant_config(cfg), "weights": path, "weights_sha256": digest}

    @functools.cache
    def matters() -> dict[str, Any]:
        """What a choice depends on; where the weights lie it does not."""
        return {key: value for key, value in about().items() if key != "weights"}

    size, flip = tuple(cfg.INPUT.SIZE_TEST), bool(cfg.TEST.FLIP.ENABLED)
    compute: Backend
    if AUTO in (backend, precision):
        compute = Automatic(model, device, size, flip, backend, precision, matters, remeasure)
    elif backend == TORCH:
        compute = TorchModel(model, device, precision, flip)
    else:
        graph = GraphFile(model, graph_name(matters(), device), size, flip)
        compute = built((backend, precision), model, device, flip, graph)
        graph.keep()
    source = Source(compute, data_build.build_transforms(cfg, is_train=False), size, about)
    source.model, source.cfg = model, cfg
    _note_rows_of_model(source, model, cfg)
    return source


def _note_rows_of_model(source: Source, model: nn.Module, cfg: CfgNode) -> None:
    """Note which cameras and viewpoints a model embeds and knows."""
    sie = side_embedding_of(model)
    if sie is not None:
        source.tables = (sie.num_cameras, sie.num_views)
        known_rows = sie.known().cpu()  # (C, V)
        source.trained = trained_ids(known_rows)
        if known_rows.any():
            source.known_ids = tuple(known_rows.nonzero()[0].tolist())
    if source.tables[0]:
        source.cameras = tuple(cfg.DATASETS.get("CAMERAS", ()))


def graph_source(
    path: str,
    backend: str = AUTO,
    precision: str = AUTO,
    threads: int | None = None,
    any_profile: bool = False,
) -> Source:
    """Of an exported file.

    Args:
        path: .onnx, .xml or .pt2.
        backend: what runs it; "auto": the first that does.
        precision: of OpenVINO; "auto": float32, or what the file is quantised to.
        threads: of a product of matrices; None: those of PyTorch, 0: the program's own choice.
        any_profile: of whatever profile, which is then given what its consumer gives; else "plain".

    Raises:
        UserError: no such file, one of another profile, a program that is not installed.
    """
    threads = torch.get_num_threads() if threads is None else threads
    wanted = "fp32" if precision in (AUTO, "int8") else precision
    runner = open_runner(path, backend, threads, wanted)
    expected = runner.metadata.get("profile", PLAIN) if any_profile else PLAIN
    check_profile(path, runner.metadata, expected)
    graph = GraphModel(runner)
    if precision not in (AUTO, graph.precision):
        raise UserError(
            f"precision {precision!r}: {path!r} is of {graph.precision} where {graph.backend} runs "
            "it; leave precision out"
        )
    known = runner.metadata
    height, width = graph.image_size
    source = Source(graph, _Resize((width, height), known), (height, width), dict)
    source.about = lambda: {
        "config": json.loads(known.get("config", "{}")),
        "weights": os.fspath(path),
        "weights_sha256": file_digest(path),
    }
    source.feature_dim = int(known["feature_dim"])
    _note_rows_of_file(source, known, runner.inputs)
    return source


def _note_rows_of_file(source: Source, known: Mapping[str, str], names: Sequence[str]) -> None:
    """Note which cameras and viewpoints are inputs of a graph, of ``names``, and known to it."""
    inputs = (known.get(name, "0") for name in ("num_cameras", "num_views"))
    rows = [
        int(size) if name in names else 0
        for name, size in zip(("camids", "viewids"), inputs, strict=True)
    ]
    source.tables = (rows[0], rows[1])
    source.trained = [  # files from before it was kept: all rows
        json.loads(known.get(name) or json.dumps([*range(size)]))
        for name, size in zip(("trained_cameras", "trained_views"), rows, strict=True)
    ]
    source.known_ids = _first_pair(source.trained, json.loads(known.get("untrained_pairs", "[]")))
    source.cameras = tuple(json.loads(known.get("cameras", "[]"))) if rows[0] else ()


def _first_pair(trained: list[list[int]], apart: list[list[int]]) -> tuple[int, int]:
    """A camera and a viewpoint that training images had together."""
    pairs = ((c, v) for c in trained[0] or [0] for v in trained[1] or [0])
    return next((pair for pair in pairs if [*pair] not in apart), (0, 0))


class _Resize:
    """Pixels (3, H, W), float32 0..255, of an image, as the transform of the file's model."""

    def __init__(self, size: tuple[int, int], known: Mapping[str, str]) -> None:
        # Files of before said it in the text of the transform alone.
        found = re.search(r"interpolation=(\w+)", known["transform"])
        kernel = known.get("interpolation") or (found[1] if found else "bilinear")
        self.size = size  # width, height
        self.resample = Image.Resampling[kernel.upper()]

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = np.asarray(image.resize(self.size, self.resample), np.float32)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
