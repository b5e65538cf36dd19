"""Seconds of reading, selecting and summing up many scores."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from cfs import select
from cfs.scores.lists import write_list
from cfs.scores.reading import read_scores
from cfs.scores.summary import summarise

from ..harness import alternate, print_table, timed
from ..processes import HIGHEST, memory
from ..synthetic import write_scores


def select_many(args: argparse.Namespace) -> None:
    """Print the seconds of each step; those of reading are the baseline."""
    found: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        # 91 names a folder, as LUPerson has images a scene
        names = (f"video_{i // 91:08d}/frame_{i:08d}_person_00.jpg" for i in range(args.rows))
        write_scores(Path(folder), names, args.rows)

        def read() -> None:
            found["scores"] = read_scores(folder)

        def choose() -> None:
            scores = found["scores"]
            found["chosen"] = select(scores.names, scores.values, keep=0.5)

        def write() -> None:
            scores, chosen = found["scores"], found["chosen"]
            listed = scores.names.take(chosen)
            write_list(Path(folder) / "CFS_list.pkl", listed, scores.values[chosen])

        steps = {
            "read": timed(read),
            "select": timed(choose),
            "write CFS_list.pkl": timed(write),
            "inspect": timed(lambda: summarise(found["scores"])),
        }
        print_table(alternate(steps, 1, baseline="read").rows())
    peak = memory(HIGHEST)
    print(f"\n{len(found['chosen']):,} of {args.rows:,} kept; peak of memory {peak:,.0f} MiB")
