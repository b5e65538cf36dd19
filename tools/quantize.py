#!/usr/bin/env python3
"""int8 with a guarantee: accepted only if mAP and TPR are not inferior by more than a margin."""

from reid_commands.quantize import main

if __name__ == "__main__":
    raise SystemExit(main())
