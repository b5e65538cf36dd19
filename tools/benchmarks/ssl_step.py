#!/usr/bin/env python3
"""What a step of each method of pre-training costs: images a second, and memory."""

from reid_commands.benchmarks.ssl_step import main

if __name__ == "__main__":
    raise SystemExit(main())
