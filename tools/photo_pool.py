#!/usr/bin/env python3
"""Make a pool of photographs whose origin is known, for the study of CFS."""

from reid_commands.studies.photo_pool import main

if __name__ == "__main__":
    raise SystemExit(main())
