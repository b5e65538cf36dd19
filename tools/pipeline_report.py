#!/usr/bin/env python3
"""Write the report of a pre-training: report.html (one file) and report.md."""

from reid_commands.report import main

if __name__ == "__main__":
    raise SystemExit(main())
