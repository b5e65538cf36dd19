"""Trainer of cluster contrast: pseudo labels in each epoch, their watch, checkpoints."""
