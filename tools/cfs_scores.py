#!/usr/bin/env python3
"""Catastrophic forgetting scores: score images, look at the scores, choose the best images."""

import sys

from reid_commands.scores import main

if __name__ == "__main__":
    sys.exit(main())
