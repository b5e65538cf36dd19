#!/usr/bin/env python3
"""Speed of one DINO training step against the straightforward implementation, and where it goes."""

import sys

from reid_commands.benchmarks.dino_step import main

if __name__ == "__main__":
    sys.exit(main())
