#!/usr/bin/env python3
"""Train or evaluate: FastReID's command line for all projects of this repository."""

import sys

import reid_core  # noqa: F401  (first: repairs FastReID)
from fastreid.engine import default_argument_parser
from reid_commands.train import run

if __name__ == "__main__":
    arguments = default_argument_parser().parse_args()
    print("Command line:", " ".join(sys.argv))
    run(arguments)
