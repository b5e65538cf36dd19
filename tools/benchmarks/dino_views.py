#!/usr/bin/env python3
"""Images/s of DINO's views on one core, against the pipeline of PIL and torchvision."""

from reid_commands.benchmarks.dino_views import main

if __name__ == "__main__":
    raise SystemExit(main())
