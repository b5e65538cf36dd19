"""Seconds of reading random scores and of selecting from them, by LUPerson's number.

python tools/benchmarks/scoring.py select
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cfs import select
from cfs.scores.lists import write_list
from cfs.scores.reading import read_scores
from cfs.scores.summary import summarise

from ..harness import PEAK, WALL, Row, benchmark, timed
from ..processes import HIGHEST, memory
from ..synthetic import LUPERSON, write_scores


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Each step, with the peak of memory until then."""
    # 91 names a folder, as LUPerson has images a scene
    names = (f"video_{i // 91:08d}/frame_{i:08d}_person_00.jpg" for i in range(args.rows))
    with tempfile.TemporaryDirectory() as folder:
        write_scores(Path(folder), names, args.rows)
        scores = read_scores(folder)
        chosen = select(scores.names, scores.values, keep=0.5)

        def write() -> None:
            listed = scores.names.take(chosen)
            write_list(Path(folder) / "CFS_list.pkl", listed, scores.values[chosen])

        steps = {
            "read": lambda: read_scores(folder),
            "select": lambda: select(scores.names, scores.values, keep=0.5),
            "write CFS_list.pkl": write,
            "inspect": lambda: summarise(scores),
        }
        for name, step in steps.items():
            yield {"step": name, WALL: timed(step)()[WALL], PEAK: memory(HIGHEST)}


main, parser = benchmark(__doc__, rows, rows=LUPERSON)
