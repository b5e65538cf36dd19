#!/usr/bin/env python3
"""Find the nearest images: each query against a gallery, by cosine similarity."""

import sys

from reid_commands.search import main

if __name__ == "__main__":
    sys.exit(main())
