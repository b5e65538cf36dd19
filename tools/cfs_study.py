#!/usr/bin/env python3
"""Does CFS choose the images that help? A study on synthetic data, several seeds, all arms."""

from reid_commands.studies.cfs import main

if __name__ == "__main__":
    raise SystemExit(main())
