"""Choosing among many names makes no Python object for each: sizes are those of arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "choosing.py"
COUNT = 200_000


def test_half_of_many_names(tmp_path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kept, index_bytes, growth = map(int, done.stdout.split()[-3:])
    assert (kept, index_bytes) == (COUNT // 2, COUNT // 2 * 8)
    # Two copies of the list (31 bytes a name and 8 of its offset), hashes and their order are 140
    # bytes an image; a tuple of path, identity and camera each would be 200 more.
    assert growth / COUNT < 220
