"""Same or not the same: error rates of a similarity threshold, measured on labelled pairs.

Definitions, for the cosine similarity s of the two images of a pair and a threshold t:

- a pair is accepted ("the same") if s >= t;
- FAR(t), false accept rate: share of the negative pairs (different identities) that are accepted;
- TAR(t), true accept rate: share of the positive pairs (same identity) that are accepted;
- the threshold at a wanted FAR f is the smallest float32 t with FAR(t) <= f, so that the measured
  FAR never exceeds f.

Of N negative pairs the smallest FAR above zero is 1 / N: at least 1 / f are needed to say anything
about f, about 30 / f to know it within 30% (Doddington's rule of 30, 90% confidence). Intervals are
Wilson's, 95%; they take pairs as independent. Pairs that share images or identities are not: the
true intervals are then wider.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from reid_common.errors import UserError

Z = 1.959964  # of the normal distribution at 97.5%
RULE_OF_30 = 30


@dataclass
class OperatingPoint:
    """A threshold and what it does; intervals are 95%."""

    wanted_far: float
    threshold: float  # accept a pair if its similarity is >= this
    far: float  # measured, <= wanted_far
    far_interval: tuple[float, float]
    tar: float  # measured
    tar_interval: tuple[float, float]
    num_negative: int  # pairs behind far
    num_positive: int  # pairs behind tar
    supported: bool  # there are at least 1 / wanted_far negative pairs
    remark: str  # on the number of negative pairs; "" if they suffice


def operating_point(similarities: np.ndarray, same: np.ndarray, far: float) -> OperatingPoint:
    """Threshold at a wanted false accept rate, of cosines (P,) and labels (P,), True = positive.

    Raises:
        UserError: ``far`` out of range, no positive or no negative pair.
    """
    check_rates([far])
    similarities, same = np.asarray(similarities, np.float32), np.asarray(same, bool)
    negative, positive = similarities[~same], similarities[same]
    if not len(negative) or not len(positive):
        raise UserError(
            f"{len(positive)} pairs of the same identity and {len(negative)} of different ones; a "
            "threshold needs both"
        )
    threshold = threshold_at(negative, far)
    accepted, found = int((negative >= threshold).sum()), int((positive >= threshold).sum())
    return OperatingPoint(
        wanted_far=far,
        threshold=float(threshold),
        far=accepted / len(negative),
        far_interval=wilson(accepted, len(negative)),
        tar=found / len(positive),
        tar_interval=wilson(found, len(positive)),
        num_negative=len(negative),
        num_positive=len(positive),
        supported=len(negative) * far >= 1 - 1e-9,
        remark=_remark(len(negative), far),
    )


def threshold_at(negative: np.ndarray, far: float) -> np.float32:
    """Smallest float32 t such that at most the share ``far`` of ``negative`` (N,) is >= t."""
    allowed = math.floor(far * len(negative) * (1 + 1e-12))  # 0.001 * 1000 may be 0.999...
    # The highest that must not be accepted; t is the next number above it.
    place = len(negative) - 1 - allowed
    refused = np.partition(negative, place)[place]
    return np.nextafter(np.float32(refused), np.float32(np.inf))


def _remark(num_negative: int, far: float) -> str:
    if num_negative * far >= RULE_OF_30:
        return ""
    if num_negative * far >= 1 - 1e-9:
        return (
            f"{num_negative} negative pairs are few for a FAR of {far:g}: about "
            f"{math.ceil(RULE_OF_30 / far - 1e-9)} are needed to know it within 30%"
        )
    highest = wilson(0, num_negative)[1]
    return (
        f"{num_negative} negative pairs cannot support a FAR of {far:g}, which needs at least "
        f"{math.ceil(1 / far - 1e-9)}: the threshold is just above the highest of them, and the "
        f"true FAR may be as high as {highest:.2g}"
    )


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95% confidence interval of a share (Wilson, 1927), within [0, 1]."""
    share, square = successes / trials, Z * Z / trials
    centre = share + square / 2
    spread = Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    low, high = (centre - spread) / (1 + square), (centre + spread) / (1 + square)
    # Exact at the ends, where rounding would leave 1e-18.
    return max(low, 0.0) if successes else 0.0, min(high, 1.0) if successes < trials else 1.0


def roc(similarities: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve of all thresholds: FAR, rising, and TAR, (T,) each, from (0, .) to (1, 1)."""
    order = np.argsort(-similarities, kind="stable")
    ordered, same = similarities[order], np.asarray(same, bool)[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # equal similarities fall together
    tar = np.cumsum(same)[last] / same.sum()
    far = np.cumsum(~same)[last] / (~same).sum()
    return np.append(0.0, far), np.append(0.0, tar)


def check_rates(rates: Sequence[float]) -> None:
    """Raise UserError for a wanted FAR that is none."""
    for rate in rates:
        if not 0 < rate < 1:
            raise UserError(f"a false accept rate is between 0 and 1, such as 0.001; got {rate}")
