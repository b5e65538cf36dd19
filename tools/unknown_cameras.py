#!/usr/bin/env python3
"""What the SIE does for cameras that training has not seen, on the synthetic ToyReID."""

from reid_commands.studies.unknown_cameras import main

if __name__ == "__main__":
    raise SystemExit(main())
