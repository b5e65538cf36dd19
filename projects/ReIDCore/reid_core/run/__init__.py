"""Runs: command lines, checks before the start, devices, compilation."""
