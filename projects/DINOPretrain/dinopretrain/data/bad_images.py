"""Images that cannot be read: written down once each, counted, and too many of them end the run."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
from collections.abc import Iterable
from typing import Any

from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm
from reid_common.errors import UserError

logger = logging.getLogger(__name__)

FILE = "bad_images.csv"
HEADER = ("image", "reason")
MIN_BAD = 10  # of fewer, a share says little
Bad = tuple[str, str]  # name and reason


class BadImages:
    """Counts the images seen and the bad ones among them.

    Several processes may write into one file. The counts are those of this process and this run.

    Args:
        path: CSV file (image, reason), each image once; what it holds already stays.
        max_share: greatest share of bad images, 0..1.
        epoch_size: images that this process sees in an epoch, after which any share counts; None:
            it is not known.
    """

    def __init__(self, path: str, max_share: float = 0.01, epoch_size: int | None = None) -> None:
        self.path, self.max_share, self.epoch_size = path, max_share, epoch_size
        self.num_seen = self.num_bad = 0
        self._written: set[str] = set()

    def add(self, bad: Iterable[Bad], num_images: int) -> None:
        """Take up a batch.

        Args:
            bad: (name, reason) of the images that were replaced by others.
            num_images: in the batch, the replacements among them.

        Raises:
            UserError: more than ``max_share`` of the images seen are bad, from 10 bad ones or a
                whole epoch on.
        """
        bad = list(bad)
        self.num_seen += num_images + len(bad)
        self.num_bad += len(bad)
        new = {name: reason for name, reason in bad if name not in self._written}
        if new:
            self._write(new)
        whole_epoch = self.epoch_size is not None and self.num_seen >= self.epoch_size
        share = self.num_bad / max(1, self.num_seen)
        if (whole_epoch or self.num_bad >= MIN_BAD) and share > self.max_share:
            raise UserError(
                f"{self.num_bad} of the {self.num_seen} images read are bad, more than "
                f"{self.max_share:.1%}; {self.path!r} names them and says why. Copy them again, "
                "leave them out by a list, or raise DINO.MAX_BAD_IMAGES"
            )

    def _write(self, new: dict[str, str]) -> None:
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
        with open(self.path, "a+", newline="", encoding="utf-8", errors="surrogateescape") as file:
            with contextlib.suppress(ImportError, OSError):  # a system without file locks
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            file.seek(0)
            self._written.update(row[0] for row in csv.reader(file) if row)
            rows = [item for item in new.items() if item[0] not in self._written]
            text = io.StringIO()
            csv.writer(text).writerows(rows if self._written else [HEADER, *rows])
            file.write(text.getvalue())  # in one piece, at the end of the file
        self._written.update(new)
        for name, reason in rows:
            logger.warning("Bad image, replaced by another: %s (%s)", name, reason)


class BadImagesHook(HookBase):
    """Gives the trainer's step a recorder of bad images, and writes their number to the metrics."""

    def __init__(self, folder: str, max_share: float = 0.01) -> None:
        self.recorder = BadImages(os.path.join(folder, FILE), max_share)

    def before_train(self) -> None:
        """Hand the recorder to the step."""
        step: Any = getattr(self.trainer, "_trainer", self.trainer)
        self.recorder.epoch_size = len(step.data_loader.dataset) // comm.get_world_size()
        step.bad_images = self.recorder

    def after_step(self) -> None:
        """Write the number of bad images so far."""
        self.trainer.storage.put_scalar("bad_images", self.recorder.num_bad, smoothing_hint=False)

    def after_train(self) -> None:
        """Say how many there were."""
        if self.recorder.num_bad:
            numbers = self.recorder.num_bad, self.recorder.num_seen
            text = "%d of %d images read were bad and replaced by others; see %s"
            logger.warning(text, *numbers, self.recorder.path)
