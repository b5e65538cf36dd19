#!/usr/bin/env python3
"""Features of your own images: a folder, a list or a CSV into one .npz or .parquet file."""

from reid_commands.extract import main

if __name__ == "__main__":
    raise SystemExit(main())
