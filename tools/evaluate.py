#!/usr/bin/env python3
"""Look at saved evaluations again, without the model: figures, intervals, pictures, comparison."""

import sys

from reid_commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
