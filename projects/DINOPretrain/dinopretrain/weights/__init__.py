"""Checkpoints of the released DINO."""
