#!/usr/bin/env python3
"""Speed of one DINO training step against the straightforward implementation."""

from reid_commands.benchmarks.dino_step import main

if __name__ == "__main__":
    raise SystemExit(main())
