#!/usr/bin/env python3
"""Conditional pre-training: choose what to pre-train on, pre-train, fine-tune, evaluate."""

from reid_commands.pretrain import main

if __name__ == "__main__":
    raise SystemExit(main())
