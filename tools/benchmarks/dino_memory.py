#!/usr/bin/env python3
"""Memory and time of a DINO step: how much a batch needs, and what saves it."""

from reid_commands.benchmarks.dino_memory import main

if __name__ == "__main__":
    raise SystemExit(main())
