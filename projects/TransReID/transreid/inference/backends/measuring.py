"""Which setting is the fastest correct one on this machine: candidates held against float32.

A processor may have fast kernels for bfloat16 or emulate them, and a runtime may be faster or
slower than PyTorch: that is measured, never looked up. A candidate counts only if the features of
every image have a cosine of at least 0.9995 with those of float32 in PyTorch.

Letters: B images of a batch, H, W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from reid_common.errors import UserError
from reid_common.timing import WALL, alternate, timed
from torch import Tensor

from .backend import Backend, shown

LEAST_COSINE = 0.9995  # of every image's feature with its float32 feature
LEAST_IMAGES, MOST_IMAGES = 8, 32  # whose features are compared
SECONDS = 1.0  # of one batch of float32; fewer images are timed where the user's take longer
ROUNDS = 3
HOPELESS = 3.0  # times slower than float32 on two images: not looked at any further
WORTHWHILE = 1.05  # times faster than float32, below which it stays

Batch = tuple[Tensor, Tensor, Tensor]  # images (B, 3, H, W) of 0..255, camids, viewids (B,)


@dataclass(frozen=True)
class Candidate:
    """A setting that may be faster; ``build`` raises UserError where it is unavailable."""

    backend: str
    precision: str
    build: Callable[[], Backend]


@dataclass
class Measured:
    """What a candidate did.

    Attributes:
        images_per_second: 0: not measured.
        cosine: the smallest of all images; NaN: not looked at.
        reason: why it cannot be chosen, "" if it can.
    """

    backend: str
    precision: str
    images_per_second: float = 0.0
    cosine: float = float("nan")
    reason: str = ""

    @property
    def name(self) -> str:
        """As messages show it."""
        return shown(self.backend, self.precision)

    def __str__(self) -> str:
        speed = f"{self.images_per_second:.3g} images/s" if self.images_per_second else ""
        return f"{self.name}: {', '.join(filter(None, (speed, self.reason)))}"


def measure(
    reference: Backend,
    candidates: Sequence[Candidate],
    batch: Batch,
    wall: Callable[[], float] = time.perf_counter,
    may_stay: bool = True,
) -> tuple[list[Measured], Backend]:
    """Hold candidates against float32 and time those that agree, in turns.

    Args:
        reference: float32 in PyTorch, the first that is timed.
        candidates: the others.
        batch: the user's images.
        wall: clock, in seconds.
        may_stay: the reference may be chosen, too.

    Returns:
        The measurements, of the reference first, and the fastest of those that agree.

    Raises:
        UserError: the reference may not be chosen, and nothing agrees with it.
    """
    compared = several(batch)
    expected = reference(*compared)
    pace = _seconds(reference, _first(compared, 2), wall)
    why = "" if may_stay else "not asked for"
    rows = [Measured(reference.backend, reference.precision, cosine=1.0, reason=why)]
    built = [reference] if may_stay else []
    for candidate in candidates:
        row = Measured(candidate.backend, candidate.precision)
        found = _agreeing(candidate, row, compared, expected, HOPELESS * pace, wall)
        rows.append(row)
        if found is not None:
            built.append(found)
    if not built:
        raise UserError(
            f"nothing of what was asked for can be chosen: {'; '.join(map(str, rows[1:]))}. Name "
            "both precision and backend to use one as it is, or leave both at auto"
        )
    timed_batch = _first(batch, max(2, int(2 * SECONDS / max(pace, 1e-9))))
    agreeing = [row for row in rows if not row.reason]  # those of ``built``
    _time(agreeing, built, timed_batch, wall)
    return rows, _fastest(agreeing, built, may_stay)


def several(batch: Batch) -> Batch:
    """At most 32 images of a batch, and at least 8: with mirror images and darker copies."""
    images, camids, viewids = _first(batch, MOST_IMAGES)
    variants = [images, images.flip(3), images * 0.7, images.flip(3) * 0.7]
    while sum(map(len, variants)) < LEAST_IMAGES:
        variants += [0.9 * images for images in variants]
    count = -(-LEAST_IMAGES // len(images)) if len(images) < LEAST_IMAGES else 1
    return torch.cat(variants[:count]), camids.repeat(count), viewids.repeat(count)


def _first(batch: Batch, count: int) -> Batch:
    images, camids, viewids = (part[:count] for part in batch)
    return images, camids, viewids


def _seconds(backend: Backend, batch: Batch, wall: Callable[[], float]) -> float:
    return timed(lambda: backend(*batch), wall=wall)()[WALL]


def _agreeing(
    candidate: Candidate,
    row: Measured,
    compared: Batch,
    expected: Tensor,
    longest: float,
    wall: Callable[[], float],
) -> Backend | None:
    """The candidate, built, if its features are those expected; else its row says why not."""
    try:
        backend = candidate.build()
    except UserError as error:
        row.reason = f"unavailable ({error})"
        return None
    two = _first(compared, 2)
    _seconds(backend, two, wall)  # its first call prepares
    if _seconds(backend, two, wall) > longest:
        row.reason = f"more than {HOPELESS:g} times slower than float32"
        return None
    row.cosine = float((backend(*compared) * expected).sum(1).min())
    if not row.cosine >= LEAST_COSINE:  # NaN too
        row.reason = f"cosine {row.cosine:.5f} with float32 is below {LEAST_COSINE}"
        return None
    return backend


def _time(
    rows: Sequence[Measured], built: Sequence[Backend], batch: Batch, wall: Callable[[], float]
) -> None:
    contenders = {
        row.name: timed(lambda backend=backend: backend(*batch), wall=wall)  # type: ignore[misc]
        for row, backend in zip(rows, built, strict=True)
    }
    shown_rows = alternate(contenders, ROUNDS).rows(images=len(batch[0]))
    for row, found in zip(rows, shown_rows, strict=True):
        row.images_per_second = float(found["images/s"])


def _fastest(rows: Sequence[Measured], built: Sequence[Backend], may_stay: bool) -> Backend:
    best = max(range(len(rows)), key=lambda i: rows[i].images_per_second)
    worth = rows[best].images_per_second >= WORTHWHILE * rows[0].images_per_second
    return built[best if worth or not may_stay else 0]
