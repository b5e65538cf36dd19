#!/usr/bin/env python3
"""Ablation: baseline, +JPM, +SIE, both; several seeds; mean and spread."""

from reid_commands.studies.ablation import main

if __name__ == "__main__":
    raise SystemExit(main())
