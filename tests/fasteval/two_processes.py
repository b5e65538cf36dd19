"""Script that test_distributed.py starts: ``two_processes.py FOLDER``.

Two processes extract 21 images, one of them is interrupted on the way and both go on; then all of
it again with one process. Results are written to FOLDER/rank{N}.json and FOLDER/single.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import torch
from fasteval import FastEvaluator, Options, Rerank
from fasteval.evaluator import gather_rows
from fasteval.unfinished import UnfinishedEvaluation
from fastreid.data import samplers
from fastreid.data.build import DataLoaderX
from fastreid.engine import launch
from fastreid.evaluation import inference_on_dataset
from fastreid.utils import comm
from torch.utils.data import BatchSampler

NUM_IMAGES, NUM_QUERY = 21, 8


class Images(torch.utils.data.Dataset):
    """Random vectors with ids."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.vectors = torch.randn(NUM_IMAGES, 6, generator=generator)

    def __len__(self) -> int:
        return NUM_IMAGES

    def __getitem__(self, index: int) -> dict:
        return {
            "images": self.vectors[index],
            "targets": index % 4,
            "camids": index % 3,
            "img_paths": f"{index}.jpg",
        }


class Model(torch.nn.Module):
    """The vectors as they are; the second process is interrupted before its image 17."""

    def __init__(self, interrupted: bool) -> None:
        super().__init__()
        self.interrupted = interrupted

    def forward(self, batch: dict) -> torch.Tensor:
        if self.interrupted and "17.jpg" in batch["img_paths"]:
            raise InterruptedError
        return batch["images"]


def evaluate(folder: Path, options: Options, save_format: str = "") -> dict:
    batches = BatchSampler(samplers.InferenceSampler(NUM_IMAGES), 3, False)
    loader = DataLoaderX(0, dataset=Images(), batch_sampler=batches, num_workers=0)
    found: dict = {}
    for interrupted in (True, False):
        inner = FastEvaluator(NUM_QUERY, options, save_format, folder)
        inner.dataset_name = "two"
        evaluator = UnfinishedEvaluation(inner, folder / "features", loader)
        found["remaining"] = sum(map(len, evaluator.batches))
        if interrupted and comm.get_world_size() > 1:
            try:
                with torch.no_grad():
                    evaluator.reset()
                    model = Model(interrupted=True)
                    for batch in evaluator.remaining_loader():
                        evaluator.process(batch, model(batch))
            except InterruptedError:
                pass
            evaluator.save()
            comm.synchronize()
            continue
        found["results"] = inference_on_dataset(
            Model(interrupted=False), evaluator.remaining_loader(), evaluator
        )
        break
    return found


def main(folder: Path) -> None:
    rank = comm.get_rank()
    gathered = gather_rows(torch.full((rank, 2), float(rank)))
    plain = evaluate(folder / "plain", Options(roc=True), "npz")
    reranked = evaluate(folder / "reranked", Options(rerank=Rerank(5, 3, 0.3)))
    seen = {
        "gathered": None if gathered is None else gathered.tolist(),
        "plain": plain,
        "reranked": reranked,
    }
    name = f"rank{rank}" if comm.get_world_size() > 1 else "single"
    (folder / f"{name}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    launch(main, 1, args=(Path(sys.argv[1]),))
