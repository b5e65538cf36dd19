#!/usr/bin/env python3
"""Compare trained models on a data set: accuracy, paired tests, speed, size."""

from reid_commands.studies.compare_models import main

if __name__ == "__main__":
    raise SystemExit(main())
