#!/usr/bin/env python3
"""Scoring: images/s with the time of each stage, memory, and selection from LUPerson's number."""

import sys

from reid_commands.benchmarks.scoring.command import main

if __name__ == "__main__":
    sys.exit(main())
