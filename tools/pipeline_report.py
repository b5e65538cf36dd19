#!/usr/bin/env python3
"""Report of a run of tools/conditional_pretrain.py: report.html (one file) and report.md."""

import sys

from cfs.pipeline.report.writing import main

if __name__ == "__main__":
    sys.exit(main())
