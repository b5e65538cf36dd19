#!/usr/bin/env python3
"""Convert weights of any known format into our checkpoint, or ours into a released-format file."""

from reid_commands.convert_weights import main

if __name__ == "__main__":
    raise SystemExit(main())
