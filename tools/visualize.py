#!/usr/bin/env python3
"""See what a model looks at, whom it finds, what its cameras are to it, and how it was trained."""

from reid_commands.visualize import main

if __name__ == "__main__":
    raise SystemExit(main())
