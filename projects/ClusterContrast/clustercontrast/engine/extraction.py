"""Features of all training images with the model as it is, in every process its share.

Letters: N images, D dimensions.
"""

from __future__ import annotations

from typing import Any

import torch
from fasteval.evaluator import gather_rows
from fastreid.config import CfgNode
from fastreid.evaluation.evaluator import inference_context
from fastreid.utils import comm
from reid_common.progress import shown
from torch import Tensor, nn
from transreid.modeling.features import features_of

from ..data.images import TrainingImages
from ..data.loading import extraction_loader


def same_buffers(model: nn.Module) -> None:
    """Give all processes the buffers of the first one: each has BatchNorm statistics of its own."""
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)


@torch.no_grad()
def extract_features(cfg: CfgNode, model: nn.Module, images: TrainingImages) -> Tensor | None:
    """Return the features (N, D), float32 on the CPU, of length 1; None but on the first process.

    Every process must call it; they are the features that an evaluation compares.
    """
    module: Any = getattr(model, "module", model)
    # The memory has other sizes in other processes when a run begins, and none needs it here.
    same_buffers(nn.ModuleList([module.backbone, module.heads]))
    loader, indices = extraction_loader(cfg, images)
    features: list[Tensor] = []
    with inference_context(module):
        for batch in shown(loader, "extract", len(loader)):
            found = features_of(module, _on(module.device, batch), cfg.TEST.FLIP.ENABLED)
            features.append(found.cpu())
    loader.shutdown()
    return _ordered(torch.cat(features) if features else torch.empty(0, 0), indices, len(images))


def _on(device: torch.device, batch: dict[str, Any]) -> dict[str, Any]:
    return {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}


def _ordered(features: Tensor, indices: list[int], count: int) -> Tensor | None:
    """Put the rows of all processes where their images are."""
    gathered = gather_rows(features)
    where = gather_rows(torch.tensor(indices, dtype=torch.int64))
    if gathered is None or where is None:
        return None
    ordered = torch.empty(count, gathered.shape[1])
    ordered[where] = gathered
    return ordered
