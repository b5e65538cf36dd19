"""The schedules of DINO: learning rate, weight decay, EMA momentum, teacher temperature.

Source: Caron et al., ICCV 2021, appendix C, and the released code: per iteration, but for the
teacher's temperature, which changes per epoch.
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
