"""Features of any images, without a data set: for searching, clustering, deduplicating.

The features are those that the evaluation of ``tools/train_net.py`` compares: the same reading of
files, test transform, test-time flip (TEST.FLIP.ENABLED) and model, L2-normalised.

Letters: N images, B images of a batch, D dimensions of the feature.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.data import build as data_build
from reid_common.errors import UserError
from reid_core.run.devices import find_device
from reid_core.side_information.trained import trained_ids
from torch import Tensor, nn

from .image_inputs import ImageInput, as_list, batch_entries, to_rgb
from .published_model import published_model
from .trained_model import build_trained_model, inference_config

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def features_of(model: nn.Module, batch: dict[str, Tensor], flip: bool = False) -> Tensor:
    """L2-normalised float32 features (B, D) of a batch, as the evaluation compares them."""
    features = model(batch).float()
    if flip:
        flipped = model({**batch, "images": batch["images"].flip(3)}).float()
        features = (features + flipped) / 2
    return F.normalize(features)


class FeatureExtractor:
    """A trained model as a function from images to features.

    Args:
        config: YAML file, or a config with the keys of this project; it stays as it is. "" takes
            that of published ``weights``, see :meth:`from_pretrained`.
        weights: checkpoint of any format that ``transreid.weights`` knows, or a folder of
            ``transreid publish``; None takes MODEL.WEIGHTS of the config. "" leaves the model as
            initialised, which needs ``allow_random_weights``.
        device: "auto" (CUDA if there is one, else the CPU), or a torch device such as "cuda:1".
        batch_size: images that go through the model at once.
        precision: "fp32", or "bf16" or "fp16" for the model's matrix products.
        global_only: leave the local branch of JPM out: D instead of (k + 1) * D numbers, less work.
        options: KEY VALUE pairs that change the config, as on the command line.
        allow_random_weights: see ``weights``; for tests and measurements.

    Attributes:
        cfg: the resolved config, frozen.
        model: the model, in eval mode, on ``device``.
        transform: from a PIL image to a tensor (3, H, W), 0..255.
        known_ids: a camera and a viewpoint that the model has a row for, where it embeds them.

    Raises:
        UserError: no such file, weights that do not fit, a device that is not there, SIE sizes that
            neither config nor weights tell.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | CfgNode,
        weights: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "auto",
        batch_size: int = 64,
        precision: str = "fp32",
        global_only: bool = False,
        options: Sequence[Any] = (),
        allow_random_weights: bool = False,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; give at least 1")
        if precision not in PRECISIONS:
            raise UserError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
        self.device = find_device(device)
        self.batch_size, self.precision = batch_size, precision
        cfg = inference_config(config, weights, options)
        cfg.MODEL.DEVICE = str(self.device)
        if global_only and "JPM" in cfg.MODEL:
            cfg.MODEL.JPM.GLOBAL_ONLY = True
        if not cfg.MODEL.WEIGHTS and not allow_random_weights:
            raise UserError("no weights given: random weights give random features; name a .pth")
        self.model = build_trained_model(cfg)
        self.cfg = cfg
        self.transform = data_build.build_transforms(cfg, is_train=False)
        sie = getattr(getattr(self.model, "backbone", None), "sie", None)
        self._num_cameras = getattr(sie, "num_cameras", 0)
        self._num_views = getattr(sie, "num_views", 0)
        self._trained: list[list[int]] = [[], []]  # cameras and viewpoints of training images
        self.known_ids = (0, 0)
        if sie is not None:
            known = sie.known().cpu()  # (C, V)
            self._trained = trained_ids(known)
            if known.any():
                self.known_ids = tuple(known.nonzero()[0].tolist())

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
        tables = {"camids": (camids, self._num_cameras), "viewids": (viewids, self._num_views)}
        columns = []
        for (name, (given, rows)), trained in zip(tables.items(), self._trained, strict=True):
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

    @torch.no_grad()
    def extract(self, images: Tensor, camids: Tensor, viewids: Tensor) -> Tensor:
        """Features (B, D), float32 on the CPU, of one batch that went through ``transform``.

        Images are (B, 3, H, W), 0..255, ids (B,) int64, negative = unknown.
        """
        batch = {"camids": camids.to(self.device), "viewids": viewids.to(self.device)}
        batch["images"] = images.to(self.device, non_blocking=True)
        dtype = PRECISIONS[self.precision]
        lower = torch.autocast(self.device.type, dtype=dtype) if dtype else contextlib.nullcontext()
        with lower:
            return features_of(self.model, batch, self.cfg.TEST.FLIP.ENABLED).cpu()

    @functools.cached_property
    def feature_dim(self) -> int:
        """D, measured with a black image."""
        height, width = self.cfg.INPUT.SIZE_TEST
        ids = torch.tensor([self.known_ids])
        return self.extract(torch.zeros(1, 3, height, width), *ids.unbind(1)).shape[1]

    @property
    def cameras(self) -> tuple[str, ...]:
        """Which cameras the rows of the model's table are: ("market1501:6",); () if not known."""
        return tuple(self.cfg.DATASETS.get("CAMERAS", ())) if self._num_cameras else ()
