#!/usr/bin/env python3
"""Catastrophic forgetting scores: score images, look at the scores, choose the best images."""

from reid_commands.scores import main

if __name__ == "__main__":
    raise SystemExit(main())
