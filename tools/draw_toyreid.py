#!/usr/bin/env python3
"""Draw a contact sheet of ToyReID or ToyUnlabeled, the synthetic sets, rendered if need be."""

import sys

from reid_commands.draw_toyreid import main

if __name__ == "__main__":
    sys.exit(main())
