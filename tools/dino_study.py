#!/usr/bin/env python3
"""DINO against training from scratch on synthetic data: the same fine-tuning."""

from reid_commands.studies.dino import main

if __name__ == "__main__":
    raise SystemExit(main())
