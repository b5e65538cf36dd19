#!/usr/bin/env python3
"""The demo: train a small TransReID on the synthetic ToyReID, and show what it learnt."""

from reid_commands.studies.demo import main

if __name__ == "__main__":
    raise SystemExit(main())
