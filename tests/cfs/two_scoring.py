"""Script that test_scoring_resume.py starts: POOL OUT SOURCE TARGET; two gloo processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
from cfs.scoring import scoring
from cfs.scoring.options import rank_and_world
from fastreid.engine import launch
from fastreid.utils import comm
from small_scoring import score, vit_cfg


def main(pool: Path, out: Path, source: str, target: str) -> None:
    scored: list[str] = []
    score_batch = scoring.score_batch

    def noting(images, names, *rest):
        scored.extend(names)
        return score_batch(images, names, *rest)

    scoring.score_batch = noting
    rank, world = rank_and_world()
    assert (rank, world) == (comm.get_rank(), 2)
    score(pool, out, vit_cfg(), source, target, rank=rank, world=world)
    (out.parent / f"rank{rank}.json").write_text(json.dumps(scored))


if __name__ == "__main__":
    launch(main, 1, args=(*map(Path, sys.argv[1:3]), *sys.argv[3:]))
