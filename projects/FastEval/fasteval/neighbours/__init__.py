"""Exact nearest neighbours of all features among themselves."""
