#!/usr/bin/env python3
"""Open a data set of LUPerson's size: seconds, and memory of the process and of its workers."""

from reid_commands.benchmarks.dino_listing import main

if __name__ == "__main__":
    raise SystemExit(main())
