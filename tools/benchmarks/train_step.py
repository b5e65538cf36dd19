#!/usr/bin/env python3
"""Speed of one TransReID training step against the straightforward implementation."""

from reid_commands.benchmarks.train_step import main

if __name__ == "__main__":
    raise SystemExit(main())
