"""Features of any images, without a data set: for searching, clustering, deduplicating.

The features are those that the evaluation of ``tools/train_net.py`` compares: the same reading of
files, test transform, test-time flip (TEST.FLIP.ENABLED) and model, L2-normalised.

Letters: N images, B images of a batch, D dimensions of the feature.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_core.run.devices import find_device
from torch import Tensor

from ..modeling.features import features_of
from .backends.backend import AUTO, BACKENDS, TORCH
from .backends.files import is_graph
from .backends.torch_model import PRECISIONS, TorchModel
from .image_inputs import ImageInput, as_list, batch_entries, to_rgb
from .published_model import published_model
from .source_view import OfSource
from .sources import Source, graph_source, trained_source
from .trained_model import build_trained_model, inference_config

__all__ = ["PRECISIONS", "FeatureExtractor", "features_of"]

CHOICES = (AUTO, *PRECISIONS, "int8")  # of precision


class FeatureExtractor(OfSource):
    """A trained model as a function from images to features.

    Args:
        config: YAML file, or a config with the keys of this project; it stays as it is. "" takes
            that of published ``weights``, see :meth:`from_pretrained`.
        weights: checkpoint of any format that ``transreid.weights`` knows, a folder of ``transreid
            publish``, or an exported file (.onnx, .xml or .pt2, with config ""); None takes
            MODEL.WEIGHTS of the config. "" leaves the model as initialised, which needs
            ``allow_random_weights``.
        device: "auto" (CUDA if there is one, else the CPU), or a torch device such as "cuda:1".
        batch_size: images that go through the model at once.
        precision: number format of the model's matrix products: "fp32", "bf16" or "fp16"; "auto":
            the fastest on this machine whose features agree with float32, measured once at the
            first images, see :mod:`.backends.measuring`.
        backend: "torch", "onnxruntime" or "openvino"; "auto": likewise.
        remeasure: with "auto": do not take what an earlier process measured.
        global_only: leave the local branch of JPM out: D instead of (k + 1) * D numbers, less work.
        options: KEY VALUE pairs that change the config, as on the command line.
        allow_random_weights: see ``weights``; for tests and measurements.

    Attributes:
        cfg, model: the resolved config, frozen; the model, in eval mode, on ``device``. An exported
            file has neither.
        transform: from a PIL image to a tensor (3, H, W), 0..255.
        known_ids: a camera and a viewpoint that the model has a row for, where it embeds them.

    Raises:
        UserError: no such file, weights that do not fit, a device that is not there, SIE sizes that
            neither config nor weights tell, a backend that is not installed.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | CfgNode,
        weights: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "auto",
        batch_size: int = 64,
        precision: str | None = None,
        backend: str | None = None,
        remeasure: bool = False,
        global_only: bool = False,
        options: Sequence[Any] = (),
        allow_random_weights: bool = False,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; give at least 1")
        for name, value, known in (
            ("precision", precision, CHOICES),
            ("backend", backend, (AUTO, *BACKENDS)),
        ):
            if value is not None and value not in known:
                raise UserError(f"{name} is {value!r}; choose one of {', '.join(known)}")
        self.batch_size = batch_size
        if is_graph(weights) or is_graph(None if isinstance(config, CfgNode) else config):
            self._of_file(config, weights, global_only, options, device, backend, precision)
            return
        if precision == "int8":
            raise UserError("precision is 'int8': give a file of tools/quantize.py as weights")
        self.device = find_device(device)
        cfg = inference_config(config, weights, options)
        cfg.MODEL.DEVICE = str(self.device)
        if global_only and "JPM" in cfg.MODEL:
            cfg.MODEL.JPM.GLOBAL_ONLY = True
        if not cfg.MODEL.WEIGHTS and not allow_random_weights:
            raise UserError("no weights given: random weights give random features; name a .pth")
        model = build_trained_model(cfg)
        how = (backend or TORCH, precision or "fp32", remeasure)
        self._source = trained_source(model, cfg, self.device, *how)

    def _of_file(
        self,
        config: str | os.PathLike[str] | CfgNode,
        weights: str | os.PathLike[str] | None,
        global_only: bool,
        options: Sequence[Any],
        device: str | torch.device,
        backend: str | None,
        precision: str | None,
    ) -> None:
        """Take an exported file, which is all that there is: it has no config and no options."""
        path = os.fspath(weights or config)  # type: ignore[arg-type]
        if (weights and config) or global_only or options:
            raise UserError(
                f"{path!r} is an exported file, which is as it was exported: leave config, options "
                "and global_only out, or name the checkpoint"
            )
        if str(device) not in ("auto", "cpu"):
            raise UserError(f"device {str(device)!r}: exported files run on the CPU here")
        self.device = torch.device("cpu")
        self._source = graph_source(path, backend or AUTO, precision or AUTO)

    @classmethod
    def of(cls, source: Source, batch_size: int = 64) -> FeatureExtractor:
        """An extractor of a source of its own, as for an exported file of any profile."""
        extractor = cls.__new__(cls)
        extractor.device, extractor.batch_size = torch.device("cpu"), batch_size
        extractor._source = source
        return extractor

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, revision: str | None = None, **options: Any
    ) -> FeatureExtractor:
        """The model of a folder of ``transreid publish``, or of the Hugging Face hub.

        Nothing is unpickled, and the files must be those that were published.

        Args:
            name: folder, or USER/NAME on the hub, which needs huggingface_hub; without a network
                it is taken from that package's cache.
            revision: branch, tag or commit on the hub.
            **options: keywords of the class, from ``device`` on.

        Raises:
            UserError: no such folder or model, or one that was changed, cut or mixed up.
        """
        return cls(*published_model(name, revision), **options)

    def __call__(
        self,
        images: ImageInput | Iterable[ImageInput],
        camids: int | Sequence[int | None] | Tensor | None = None,
        viewids: int | Sequence[int | None] | Tensor | None = None,
    ) -> Tensor:
        """Features (N, D), float32 on the CPU, L2-normalised; (1, D) of one image.

        Args:
            images: one image or many, of any kinds: files, PIL images, uint8 arrays (H, W, 3) RGB
                or (H, W), tensors (3, H, W) of 0..255; see :func:`~.image_inputs.to_rgb`.
            camids: camera of each image, 0-based row of :attr:`cameras`; one number for all; None
                or negative = unknown, for which the model has MODEL.SIE.UNKNOWN. Models without
                camera embedding ignore it.
            viewids: viewpoint of each image, likewise.

        Raises:
            UserError: an image that cannot be read, ids that do not fit.
        """
        inputs = as_list(images)
        ids = self.checked_ids(camids, viewids, len(inputs))
        features = []
        for start in range(0, len(inputs), self.batch_size):
            rows = slice(start, start + self.batch_size)
            tensors = [self._tensor(image, start + i) for i, image in enumerate(inputs[rows])]
            features.append(self.extract(torch.stack(tensors), *(column[rows] for column in ids)))
        return torch.cat(features) if features else torch.empty(0, self.feature_dim)

    def checked_ids(self, camids: Any, viewids: Any, count: int) -> tuple[Tensor, Tensor]:
        """Camera and viewpoint ids of ``count`` images, (count,) int64 each; -1 = unknown.

        Raises:
            UserError: another number of ids than of images, or ids that the model has no row for.
        """
        num_cameras, num_views = self._source.tables
        tables = {"camids": (camids, num_cameras), "viewids": (viewids, num_views)}
        columns = []
        for (name, (given, rows)), trained in zip(
            tables.items(), self._source.trained, strict=True
        ):
            ids = torch.tensor(batch_entries(given, count, name), dtype=torch.int64)
            if rows and count and int(ids.max()) >= rows:
                known = f" ({', '.join(self.cameras)})" if name == "camids" and self.cameras else ""
                raise UserError(
                    f"{name} holds {int(ids.max())}, but the model knows 0..{rows - 1}{known}; "
                    "None = unknown"
                )
            others = {*ids[ids >= 0].tolist()} - {*trained} if rows else None
            if others:
                raise UserError(
                    f"{name} holds {min(others)}, but the training images of the model are of "
                    f"{trained} alone; None = unknown"
                )
            columns.append(ids)
        return columns[0], columns[1]

    def _tensor(self, image: ImageInput, index: int) -> Tensor:
        try:
            return self.transform(to_rgb(image))
        except UserError as error:
            name = f"image {index}"
            if isinstance(image, (str, os.PathLike)):
                name = str(Path(image))
            raise error if name in str(error) else UserError(f"{name}: {error}") from error

    def extract(self, images: Tensor, camids: Tensor, viewids: Tensor) -> Tensor:
        """Features (B, D), float32 on the CPU, of one batch that went through ``transform``.

        Images are (B, 3, H, W), 0..255, ids (B,) int64, negative = unknown.
        """
        return self._source.compute(images, camids, viewids)

    @functools.cached_property
    def feature_dim(self) -> int:
        """D, measured with a black image where the file does not tell."""
        if self._source.feature_dim:
            return self._source.feature_dim
        height, width = self._source.image_size
        ids = torch.tensor([self.known_ids])
        model = TorchModel(self.model, self.device)
        return model(torch.zeros(1, 3, height, width), *ids.unbind(1)).shape[1]
