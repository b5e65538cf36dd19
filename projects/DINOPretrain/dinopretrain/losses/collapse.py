"""Collapse of DINO's outputs, of both kinds.

Source: Caron et al., ICCV 2021, section 5.3: without centring one output dimension dominates (the
teacher's entropy goes to 0), without sharpening all outputs are equal (it goes to ln K).

Letter: K outputs.
"""

from __future__ import annotations

import math

# Shares of ln K. A head as initialised is at about 0.9 with the default temperatures.
UNIFORM, ONE_HOT = 0.99, 0.03
REMEDIES = {
    "uniform": "all outputs are equal, the loss is ln K. Lower DINO.TEACHER_TEMP (0.04) and "
    "DINO.WARMUP_TEACHER_TEMP until they are below view_agreement (in metrics.json) times "
    "DINO.STUDENT_TEMP, lower DINO.OUT_DIM for small batches, raise DINO.MOMENTUM (0.9995 "
    "at batch 256), lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_EPOCHS",
    "one_hot": "all images get the same output dimension. Lower DINO.CENTER_MOMENTUM (0.9) so that "
    "the centre follows, raise DINO.TEACHER_TEMP (0.04 to 0.07), lower SOLVER.BASE_LR, raise "
    "DINO.FREEZE_LAST_LAYER",
}


def collapse_kind(
    loss: float, teacher_entropy: float, mean_entropy: float, out_dim: int
) -> str | None:
    """Name of a collapse, from means over some steps in nats (see :class:`.outputs.OutputSums`).

    Returns:
        "uniform" (teacher's outputs and loss at ln K), "one_hot" (one output dimension takes all
        images), or None.
    """
    highest = math.log(out_dim)
    if min(loss, teacher_entropy) > UNIFORM * highest:
        return "uniform"
    return "one_hot" if mean_entropy < ONE_HOT * highest else None
