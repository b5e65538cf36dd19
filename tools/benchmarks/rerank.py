#!/usr/bin/env python3
"""Speed and memory of k-reciprocal re-ranking: FastEval against FastReID."""

import sys

from reid_commands.benchmarks.rerank import main

if __name__ == "__main__":
    sys.exit(main())
