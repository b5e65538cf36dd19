"""Repairs of checkpoints and pretrained weights."""
