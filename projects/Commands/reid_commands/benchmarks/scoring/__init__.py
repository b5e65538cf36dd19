"""Benchmarks of scoring by CFS: speed, memory, and selection from LUPerson's number of images."""
