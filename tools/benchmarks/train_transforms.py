#!/usr/bin/env python3
"""Images/s of the training transforms on one core, against the released pipeline."""

from reid_commands.benchmarks.train_transforms import main

if __name__ == "__main__":
    raise SystemExit(main())
