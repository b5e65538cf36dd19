#!/usr/bin/env python3
"""Train or evaluate: FastReID's command line for all projects of this repository."""

from reid_commands.train import main

if __name__ == "__main__":
    raise SystemExit(main())
