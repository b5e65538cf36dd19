#!/usr/bin/env python3
"""What the two repairs for CPUs bring: a DINO step with SOLVER.AMP, without and with them."""

from reid_commands.benchmarks.cpu_step import main

if __name__ == "__main__":
    raise SystemExit(main())
