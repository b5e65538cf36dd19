"""Contenders that take turns, timed by two clocks, and their ratios.

A contender is a function that returns a sample: numbers by the column of a table. Contenders take
turns, so that a machine that gets slower slows all of them; medians over the rounds are compared
with those of one of them, the baseline.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import UserError

WALL, CPU, PEAK = "seconds", "processor seconds", "peak MiB"

Sample = dict[str, float]
Cell = str | float


def timed(
    call: Callable[[], Any],
    least: float = 0.0,
    wall: Callable[[], float] = time.perf_counter,
    cpu: Callable[[], float] = time.process_time,
) -> Callable[[], Sample]:
    """Make a contender of ``call``: a sample has its seconds by the clocks ``wall`` and ``cpu``.

    A call that is shorter than ``least`` seconds is repeated for so long, and its medians count.
    """

    def sample() -> Sample:
        samples: list[Sample] = []
        while sum(one[WALL] for one in samples) < least or not samples:
            start, busy = wall(), cpu()
            call()
            samples.append({WALL: wall() - start, CPU: cpu() - busy})
        return summary(samples)

    return sample


def summary(samples: Sequence[Sample]) -> Sample:
    """Return the median of each number; of peaks of memory, the highest."""
    return {
        key: (max if key == PEAK else statistics.median)([one[key] for one in samples])
        for key in samples[0]
    }


@dataclass(frozen=True)
class Comparison:
    """Samples of contenders by name, in the order of the rounds; less of ``key`` is better."""

    samples: dict[str, list[Sample]]
    baseline: str
    key: str = WALL

    def ratio(self, name: str) -> float:
        """How many times better than the baseline a contender is, by the medians."""
        return self._median(self.baseline) / self._median(name)

    def ratios(self, name: str) -> list[float]:
        """The same round by round; of a baseline that ran once, that run counts for all rounds."""
        base, own = ([s[self.key] for s in self.samples[who]] for who in (self.baseline, name))
        return [base[min(i, len(base) - 1)] / value for i, value in enumerate(own)]

    def _median(self, name: str) -> float:
        return summary(self.samples[name])[self.key]

    def rows(self, images: int = 0) -> Iterator[dict[str, Cell]]:
        """Rows of the table; with the number of images of a sample also images/s."""
        for name, samples in self.samples.items():
            ratios = self.ratios(name)
            yield {
                "contender": name,
                **summary(samples),
                **({"images/s": images / self._median(name)} if images else {}),
                f"ratio of {self.key}": self.ratio(name),
                "round by round": f"{min(ratios):.2f}-{max(ratios):.2f}",
            }


def alternate(
    contenders: Mapping[str, Callable[[], Sample]],
    rounds: int = 1,
    *,
    baseline: str | None = None,
    key: str = WALL,
    once: Collection[str] = (),
) -> Comparison:
    """Run all contenders in turn, ``rounds`` times.

    Args:
        contenders: by name; warmed up, where that matters.
        rounds: at least 1.
        baseline: contender to which ratios refer (the first).
        key: number of a sample that ratios compare.
        once: slow contenders, which run in the first round only.
    """
    if rounds < 1:
        raise UserError(f"there are {rounds} rounds of the benchmark; ask for at least 1")
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, contender in contenders.items():
            if number == 0 or name not in once:
                samples[name].append(contender())
    return Comparison(samples, baseline or next(iter(contenders)), key)
