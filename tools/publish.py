#!/usr/bin/env python3
"""Publish a trained model as a folder: weights, config, preprocessing, model card."""

from reid_commands.publish import main

if __name__ == "__main__":
    raise SystemExit(main())
