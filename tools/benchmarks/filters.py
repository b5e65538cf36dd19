#!/usr/bin/env python3
"""Data filters at LUPerson's size: seconds and memory; images/s of those that look at pixels."""

from reid_commands.benchmarks.filters import main

if __name__ == "__main__":
    raise SystemExit(main())
