#!/usr/bin/env python3
"""Write docs/config.md, the reference of all config keys."""

from reid_commands.config_reference import main

if __name__ == "__main__":
    raise SystemExit(main())
