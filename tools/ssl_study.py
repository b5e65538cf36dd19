#!/usr/bin/env python3
"""Methods of pre-training against one another: the same images, passes and fine-tuning."""

from reid_commands.studies.ssl import main

if __name__ == "__main__":
    raise SystemExit(main())
