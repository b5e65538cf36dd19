"""Schedules of learning rate, weight decay, EMA momentum and the teacher's temperature.

Source: Caron et al., ICCV 2021, appendix C, and the released code: per iteration, but for the
teacher's temperature, which changes per epoch. Those of MoCo v2, MoCo v3 and MoBY from theirs.
"""

from __future__ import annotations

import math


def cosine_with_warmup(
    step: int, num_steps: int, base: float, end: float, warmup_steps: int = 0
) -> float:
    """Linear warm-up from 0, then a cosine over what is left.

    Args:
        step: 0-based iteration.
        num_steps: iterations of the run.
        base: value at the end of the warm-up: its last step has it.
        end: value that the cosine approaches; one step after the last it would be there.
        warmup_steps: steps of the warm-up; the first one has 0.
    """
    if step < warmup_steps:
        return base * step / max(warmup_steps - 1, 1)
    progress = (step - warmup_steps) / (num_steps - warmup_steps)
    return end + 0.5 * (base - end) * (1 + math.cos(math.pi * progress))


def teacher_temperature(epoch: int, start: float, end: float, warmup_epochs: int) -> float:
    """Temperature of a 0-based epoch: linear from ``start``, ``end`` after the warm-up."""
    if epoch >= warmup_epochs:
        return end
    return start + (end - start) * epoch / max(warmup_epochs - 1, 1)


def epoch_cosine(epoch: int, num_epochs: int, base: float) -> float:
    """MoCo v2: a cosine to 0, by whole 0-based epochs, without warm-up."""
    return 0.5 * base * (1 + math.cos(math.pi * epoch / num_epochs))


def cosine_to_zero(step: int, num_steps: int, base: float, warmup_steps: int) -> float:
    """MoCo v3: linear from 0, which the first step has, then a cosine to 0 over what is left."""
    if step < warmup_steps:
        return base * step / warmup_steps
    progress = (step - warmup_steps) / (num_steps - warmup_steps)
    return 0.5 * base * (1 + math.cos(math.pi * progress))


def timm_cosine(
    step: int, num_steps: int, base: float, *, start: float, end: float, warmup_steps: int
) -> float:
    """MoBY: timm's cosine, which does not begin anew after the warm-up.

    The released code sets the rate after a step: steps 0 and 1 have that of 0, step n that of
    n - 1.

    Args:
        step: 0-based iteration.
        num_steps: iterations of the run.
        base: value that the warm-up leads to.
        start: value at its start.
        end: value that the cosine approaches.
        warmup_steps: steps of the warm-up.
    """
    step = max(step - 1, 0)
    if step < warmup_steps:
        return start + step * (base - start) / warmup_steps
    return end + 0.5 * (base - end) * (1 + math.cos(math.pi * step / num_steps))
