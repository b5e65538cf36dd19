"""Weights of FastReID's CNNs from whole models, from DINO and from bare backbones."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from reid_common.errors import UserError
from torch import Tensor, nn

logger = logging.getLogger(__name__)

# In front of a backbone's keys: our DINO checkpoint's teacher (its student is left out); FastReID's
# models, and the teacher of a released DINO checkpoint; a bare backbone.
PREFIXES = ("teacher.backbone.", "backbone.", "")
POOL = "heads.pool_layer."
COUNTER = "num_batches_tracked"  # of training alone; old files lack it


def load_cnn(backbone: nn.Module, pool: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Load weights into a backbone and its pooling (which learns in GeneralizedMeanPoolingP).

    Args:
        backbone: one of FastReID's.
        pool: what pools its maps; it stays as it is where the file has none.
        state: of a file, see ``fastreid_compat.repairs.checkpoints.checkpoint_files.unwrapped``.
        source: the file, for messages.

    Raises:
        UserError: a tensor of the backbone is not in the file, or has another shape there.
    """
    tensors = {
        str(key).removeprefix("module."): value
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    prefix = next(p for p in PREFIXES if any(key.startswith(p) for key in tensors) or not p)
    found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    own = backbone.state_dict()
    needed = [key for key in own if not key.endswith(COUNTER)]
    missing = [key for key in needed if key not in found]
    unlike = [key for key in needed if key in found and found[key].shape != own[key].shape]
    if missing or unlike:
        raise UserError(
            f"{source!r} does not fit MODEL.BACKBONE: of {len(needed)} tensors it lacks "
            f"{len(missing)} ({', '.join(missing[:3]) or '-'}), and {len(unlike)} have another "
            f"shape ({', '.join(unlike[:3]) or '-'}). Its first keys are "
            f"{', '.join(list(tensors)[:3]) or 'none'}; choose the config that it was made with"
        )
    backbone.load_state_dict({key: found[key] for key in own if key in found}, strict=False)
    pooling = {key: tensors[POOL + key] for key in pool.state_dict() if POOL + key in tensors}
    pool.load_state_dict(pooling, strict=False)
    if len(pooling) < len(pool.state_dict()):
        logger.warning("%s has no %s*: pooling stays as it is initialised", source, POOL)
    logger.info("%s: %d tensors of the backbone behind %r", source, len(needed), prefix)
