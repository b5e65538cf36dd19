#!/usr/bin/env python3
"""Training steps and inference on a GPU: images/s, memory, share of the peak, waits, operators."""

from reid_commands.benchmarks.gpu_step import main

if __name__ == "__main__":
    raise SystemExit(main())
