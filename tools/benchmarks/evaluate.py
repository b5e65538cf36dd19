#!/usr/bin/env python3
"""Speed and memory of ranking and re-ranking: FastEval against FastReID's Python and Cython."""

from reid_commands.benchmarks.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
