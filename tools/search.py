#!/usr/bin/env python3
"""Find the nearest images: each query against a gallery, by cosine similarity."""

from reid_commands.search import main

if __name__ == "__main__":
    raise SystemExit(main())
