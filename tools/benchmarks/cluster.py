#!/usr/bin/env python3
"""Speed and memory of pseudo labels: sparse Jaccard distances and DBSCAN against the dense way."""

from reid_commands.benchmarks.cluster import main

if __name__ == "__main__":
    raise SystemExit(main())
