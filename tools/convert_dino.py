#!/usr/bin/env python3
"""Continue from a checkpoint of the released DINO, or write ours in its format."""

from reid_commands.convert_dino import main

if __name__ == "__main__":
    raise SystemExit(main())
