"""FastReID's trainer, with the watch over the embedding."""

from __future__ import annotations

from collections.abc import Sequence

from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import HookBase

from .embedding_watch import EmbeddingWatch


class TransReIDTrainer(DefaultTrainer):
    """Trains MODEL.META_ARCHITECTURE TransReID."""

    def build_hooks(self) -> Sequence[HookBase]:
        """FastReID's hooks, after the watch, whose metrics they write."""
        return [EmbeddingWatch(self.cfg), *super().build_hooks()]
