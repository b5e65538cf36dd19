"""Cluster memory, its updates and the loss against it."""
