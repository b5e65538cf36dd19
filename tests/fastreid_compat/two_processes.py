"""Script that test_distributed.py starts: ``two_processes.py {spawn,fail,torchrun} FOLDER [URL]``.

Each process writes what it has seen to FOLDER/rank{N}.json; ``single.json`` and ``repeated.json``
hold the evaluations of the whole test set by one process.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fastreid.config import get_cfg
from fastreid.data.samplers import InferenceSampler
from fastreid.engine import defaults, launch
from fastreid.evaluation import ReidEvaluator, inference_on_dataset
from fastreid.modeling import build_model
from fastreid.utils import comm
from fastreid_compat.repairs.evaluation.repeated_splits import RepeatedEvaluator, one_gallery_image

NUM_IMAGES, NUM_QUERY = 21, 8


def evaluate() -> dict[str, float]:
    """Evaluate a network whose batch normalisation differs between the processes."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.DEPTH = "18x"
    cfg.MODEL.BACKBONE.FEAT_DIM = 512
    torch.manual_seed(0)
    images = torch.randint(0, 256, (NUM_IMAGES, 3, 64, 32)).float()
    pids, camids = torch.arange(NUM_IMAGES) % 4, torch.arange(NUM_IMAGES) % 3
    model = build_model(cfg)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer += comm.get_rank() * torch.randn_like(buffer)
    own = torch.tensor(list(InferenceSampler(NUM_IMAGES))).split(3)

    class Loader(list):
        dataset = range(NUM_IMAGES)

    loader = Loader({"images": images[i], "targets": pids[i], "camids": camids[i]} for i in own)
    return inference_on_dataset(model, loader, ReidEvaluator(cfg, NUM_QUERY))


def evaluate_repeatedly() -> dict[str, float]:
    """Evaluate features of noise by a protocol of three splits."""
    images = torch.randn(NUM_IMAGES, 4, generator=torch.Generator().manual_seed(0))
    pids, camids = torch.arange(NUM_IMAGES) % 4, torch.arange(NUM_IMAGES)
    evaluator = RepeatedEvaluator(one_gallery_image, 3, lambda n: ReidEvaluator(get_cfg(), n))
    evaluator.reset()
    for i in torch.tensor(list(InferenceSampler(NUM_IMAGES))).split(3):
        evaluator.process({"targets": pids[i], "camids": camids[i]}, images[i])
    return evaluator.evaluate()


def gradient() -> list[float]:
    """Gradient of a linear layer whose input is the rank plus one, averaged over the processes."""
    model = torch.nn.Linear(2, 1, bias=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        parallel = defaults.DistributedDataParallel(
            model, device_ids=[comm.get_local_rank()], broadcast_buffers=False
        )
    parallel(torch.full((1, 2), comm.get_rank() + 1.0)).sum().backward()
    return model.weight.grad[0].tolist()


def main(folder: Path) -> None:
    rank = comm.get_rank()
    total = torch.tensor([rank + 1.0])
    dist.all_reduce(total)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gathered = comm.gather({"rank": rank, "long": "x" * rank}, dst=0)
        everyone = comm.all_gather(rank * "y")
    seen = {
        "rank": rank,
        "world_size": comm.get_world_size(),
        "local_rank": comm.get_local_rank(),
        "local_size": comm.get_local_size(),
        "sum": total.item(),
        "gather": gathered,
        "all_gather": everyone,
        "seed": comm.shared_random_seed(),
        "start_method": mp.get_start_method(),
        "threads": torch.get_num_threads(),
        "gradient": gradient(),
        "results": evaluate(),
        "repeated": evaluate_repeatedly(),
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(seen))


def fail(folder: Path) -> None:
    if comm.get_rank() == 1:
        raise ValueError("the second process has a problem")
    comm.synchronize()
    comm.synchronize()


if __name__ == "__main__":
    mode, folder = sys.argv[1], Path(sys.argv[2])
    url = sys.argv[3] if len(sys.argv) > 3 else "auto"
    if mode == "torchrun":
        launch(main, 1, args=(folder,))
        (folder / f"returned{os.environ['RANK']}").write_text(str(comm.get_world_size()))
    else:
        launch(main if mode == "spawn" else fail, 2, dist_url=url, args=(folder,))
        (folder / "single.json").write_text(json.dumps(evaluate()))
        (folder / "repeated.json").write_text(json.dumps(evaluate_repeatedly()))
