#!/usr/bin/env python3
"""Speed and memory of ranking: FastEval against FastReID's Python and Cython."""

import sys

from reid_commands.benchmarks.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
