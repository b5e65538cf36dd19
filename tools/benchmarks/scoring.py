#!/usr/bin/env python3
"""Scoring: images/s, memory, and selection from LUPerson's number."""

from reid_commands.benchmarks.scoring import main

if __name__ == "__main__":
    raise SystemExit(main())
