#!/usr/bin/env python3
"""Draw a contact sheet of ToyReID or ToyUnlabeled, the synthetic sets, rendered if need be."""

from reid_commands.draw_toyreid import main

if __name__ == "__main__":
    raise SystemExit(main())
