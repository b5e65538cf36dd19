"""The backend of ``precision="auto"`` and ``backend="auto"``: chosen at the first images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .backend import AUTO, TORCH, Backend, shown
from .candidates import GraphFile, built, candidates, settings
from .choices import Choice, graph_name, machine
from .measuring import Batch, Measured, measure
from .torch_model import TorchModel

logger = logging.getLogger(__name__)


class Automatic:
    """See :class:`~.backend.Backend`; both names are "auto" until the first images come.

    Args:
        model: in eval mode, on ``device``.
        device: where it is.
        image_size: (H, W) in pixels.
        flip: TEST.FLIP.
        backend, precision: "auto", or one to which the choice is limited.
        about: returns what the features depend on, as JSON can hold it.
        remeasure: do not take a choice of an earlier process.

    Raises:
        UserError: nothing fits what was named.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        image_size: tuple[int, int],
        flip: bool,
        backend: str,
        precision: str,
        about: Callable[[], Mapping[str, Any]],
        remeasure: bool = False,
    ) -> None:
        self._model, self._device, self._flip = model, device, flip
        self._size, self._about, self._remeasure = image_size, about, remeasure
        self._tried = settings(device, backend, precision)
        self.reference = TorchModel(model, device, "fp32", flip)
        self.chosen: Backend | None = None

    @property
    def backend(self) -> str:
        """Name of what was chosen."""
        return self.chosen.backend if self.chosen else AUTO

    @property
    def precision(self) -> str:
        """Likewise."""
        return self.chosen.precision if self.chosen else AUTO

    def __call__(self, images: Tensor, camids: Tensor, viewids: Tensor) -> Tensor:
        """Features (B, D); the first call chooses."""
        if self.chosen is None:
            self.choose((images, camids, viewids))
        assert self.chosen is not None
        return self.chosen(images, camids, viewids)

    def take(self, backend: str, precision: str) -> None:
        """Take a setting without measuring: that of what an interrupted process has done.

        Raises:
            UserError: it is not available here.
        """
        graph = self._graph(self._about())
        self.chosen = built((backend, precision), self._model, self._device, self._flip, graph)
        graph.keep()

    def choose(self, batch: Batch) -> None:
        """Measure on a batch of images, or take what was chosen for such a batch before."""
        about = dict(self._about())
        graph = self._graph(about)
        choice = Choice(
            {
                **about,
                **machine(self._device),
                "batch": len(batch[0]),
                "image_size": list(self._size),
                "tried": [list(one) for one in self._tried],
            }
        )
        known = None if self._remeasure else choice.read()
        try:
            if known in self._tried:
                self.take(*known)
                logger.info("auto: %s, as measured before (%s)", shown(*known), choice.path)
                return
            rows = self._measure(batch, graph)
        finally:
            graph.discard()
        choice.write(self.backend, self.precision, rows)
        logger.info(
            "auto: %s, of %s. Kept in %s; --remeasure (remeasure=True) measures again",
            shown(self.backend, self.precision),
            "; ".join(map(str, rows)),
            choice.path,
        )

    def _measure(self, batch: Batch, graph: GraphFile) -> list[Measured]:
        others = candidates(self._tried, self._model, self._device, self._flip, graph)
        may_stay = (TORCH, "fp32") in self._tried
        rows, self.chosen = measure(self.reference, others, batch, may_stay=may_stay)
        if self.chosen.backend != TORCH:
            graph.keep()
        return rows

    def _graph(self, about: Mapping[str, Any]) -> GraphFile:
        return GraphFile(self._model, graph_name(about, self._device), self._size, self._flip)
