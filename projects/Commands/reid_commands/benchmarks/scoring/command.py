"""Scoring: images/s with the time of each stage, memory, and selection from LUPerson's number.

python tools/benchmarks/scoring.py speed
python tools/benchmarks/scoring.py memory --rows 10000 100000 1000000
python tools/benchmarks/scoring.py select --rows 4180243
"""

from __future__ import annotations

from ...groups import group_main

COMMANDS = {
    "speed": ("benchmarks.scoring.speed", "images/s, time of each stage, cost of LUPerson"),
    "memory": ("benchmarks.scoring.memory", "peak of memory for numbers of images"),
    "select": ("benchmarks.scoring.select", "seconds of reading and selecting scores"),
}

main = group_main(__doc__, COMMANDS)
