"""What an extractor tells of its model: all of it is the source's."""

from __future__ import annotations

from typing import Any

from fastreid.config import CfgNode
from reid_common.errors import UserError
from torch import nn

from .backends.automatic import Automatic
from .backends.backend import Backend
from .sources import Source


class OfSource:
    """Properties that are read off ``_source``."""

    _source: Source

    @property
    def backend(self) -> str:
        """What computes the features; "auto" until the first images come."""
        return self._source.compute.backend

    @property
    def precision(self) -> str:
        """Number format of matrix products, likewise."""
        return self._source.compute.precision

    @property
    def undecided(self) -> Automatic | None:
        """What will choose backend and precision at the first images; None: they are chosen."""
        compute = self._source.compute
        return compute if isinstance(compute, Automatic) and compute.chosen is None else None

    @property
    def computes(self) -> Backend:
        """From a batch of pixels and ids to features."""
        return self._source.compute

    def about(self) -> dict[str, Any]:
        """What the features depend on: "config", "weights" and "weights_sha256"."""
        return self._source.about()

    @property
    def model(self) -> nn.Module:
        """The model; UserError of an exported file."""
        return self._of_model(self._source.model)

    @property
    def cfg(self) -> CfgNode:
        """The resolved config; UserError of an exported file."""
        return self._of_model(self._source.cfg)

    def _of_model(self, part: Any) -> Any:
        if part is None:
            raise UserError(
                f"{self.about()['weights']!r} is an exported file; this needs the model itself: "
                "name its config and checkpoint, or a folder of transreid publish"
            )
        return part

    @property
    def transform(self) -> Any:
        """From a PIL image to a tensor (3, H, W), 0..255."""
        return self._source.transform

    @property
    def known_ids(self) -> tuple[int, int]:
        """A camera and a viewpoint that the model has a row for, where it embeds them."""
        return self._source.known_ids

    @property
    def cameras(self) -> tuple[str, ...]:
        """Which cameras the rows of the model's table are: ("market1501:6",); () if not known."""
        return self._source.cameras
