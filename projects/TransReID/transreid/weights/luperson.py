"""MGN models that LUPerson's authors fine-tuned with their FastReID of 2020, into today's names."""

from __future__ import annotations

from typing import Any

import torch
from fastreid.modeling.meta_arch.mgn import MGN
from fastreid_compat.repairs.checkpoints.checkpoints import WEIGHT_ADAPTERS, check_fit
from reid_common.errors import UserError
from torch import Tensor, nn

from ..modeling.luperson_mgn import EXTRA, LUPersonMGN
from .reading import Reading, check_pixels
from .released import State

CLASSIFIER = "_head.classifier.weight"  # today _head.weight
PIXELS = ("pixel_mean", "pixel_std")  # which files of that time hold


def adapt_luperson(model: nn.Module, state: dict[str, Any], path: str) -> State | None:
    """A fine-tuned model for FastReID's Checkpointer; None for any other.

    Raises:
        UserError: the model has no norms where the file has some, or takes other pixels.
    """
    theirs = {str(key).removeprefix("module."): value for key, value in state.items()}
    has_norms = any(key.startswith(EXTRA) for key in theirs)
    if not isinstance(model, MGN) or (not has_norms and not isinstance(model, LUPersonMGN)):
        return None
    if has_norms != isinstance(model, LUPersonMGN):
        raise UserError(
            f"{path!r} has {'a' if has_norms else 'no'} batch norm behind each branch of its MGN "
            f"(EXTRA_BN), this model {'none' if has_norms else 'one'}; set "
            f"MODEL.META_ARCHITECTURE {'LUPersonMGN' if has_norms else 'MGN'}"
        )
    mean, std = (theirs.pop(name, None) for name in PIXELS)
    if isinstance(mean, Tensor) and isinstance(std, Tensor):
        pixels: Any = (mean.flatten().tolist(), std.flatten().tolist())
        check_pixels(Reading(pixels=pixels), model, repr(path))
    own = model.state_dict()
    renamed = {key.replace(CLASSIFIER, "_head.weight"): value for key, value in theirs.items()}
    fitting = {k: v for k, v in renamed.items() if own.get(k, torch.empty(0)).shape == v.shape}
    check_fit(own, fitting, path)
    lacking = [k for k in own if k not in fitting and not k.endswith(("_head.weight", "tracked"))]
    if lacking:
        raise UserError(f"{path!r} does not fit this MGN: it lacks {', '.join(lacking[:4])}")
    return fitting


WEIGHT_ADAPTERS.append(adapt_luperson)
