#!/usr/bin/env python3
"""Evaluate saved results again, without the model: metrics, intervals, pictures, comparison."""

from reid_commands.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
