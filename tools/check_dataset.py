#!/usr/bin/env python3
"""Check a data set before training on it: damaged files, leaks, duplicates, queries."""

from reid_commands.check_data import main

if __name__ == "__main__":
    raise SystemExit(main())
