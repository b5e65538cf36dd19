#!/usr/bin/env python3
"""Find the similarity from which two images count as the same identity."""

from reid_commands.calibrate import main

if __name__ == "__main__":
    raise SystemExit(main())
