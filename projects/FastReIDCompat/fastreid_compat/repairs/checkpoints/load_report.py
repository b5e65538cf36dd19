"""What became of the tensors of a file that was loaded into a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from tabulate import tabulate

logger = logging.getLogger(__name__)


@dataclass
class LoadReport:
    """What became of the tensors of a file."""

    source: str  # the file
    kind: str  # what it was recognised as
    whole: bool = False  # of a whole model: what is missing or changed matters
    loaded: list[str] = field(default_factory=list)  # keys of the model
    resized: list[str] = field(default_factory=list)  # those of them that were made to fit
    skipped: list[str] = field(default_factory=list)  # keys of the file that found no place
    missing: list[str] = field(default_factory=list)  # keys of the model that stay as they were
    notices: list[str] = field(default_factory=list)  # what was changed or dropped
    share: float = 0.0  # part of the backbone's parameters that arrived, 0..1
    network: str = "ViT"  # what the backbone is called in messages

    def table(self) -> str:
        """The report as text: notices, and a table of loaded, resized, skipped, missing keys."""
        names = ("loaded", "resized", "skipped", "missing")
        rows = [[name, len(getattr(self, name)), some_keys(getattr(self, name))] for name in names]
        head = f"{self.source}: {self.kind}, {self.share:.0%} of the {self.network}'s weights"
        text = tabulate(rows, headers=["", "tensors", "keys"], tablefmt="github")
        return "\n".join([head, *self.notices, text])

    def log(self) -> None:
        """Log the report, as a warning where a whole model lacks something or got it changed.

        Classifiers do not count: a model that is only evaluated has none.
        """
        changed = [notice for notice in self.notices if "classifier" not in notice]
        missing = [key for key in self.missing if "classifier" not in key]
        matters = self.whole and (changed or missing)
        logger.log(logging.WARNING if matters else logging.INFO, "Weights from %s", self.table())


def some_keys(keys: Sequence[str], count: int = 4) -> str:
    """The first keys as text, "-" where there are none."""
    return ", ".join(keys[:count]) + (", ..." if len(keys) > count else "") if keys else "-"
