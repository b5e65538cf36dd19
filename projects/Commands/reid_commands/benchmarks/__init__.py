"""Benchmarks: contenders that take turns on this machine, and ratios to a named baseline."""
