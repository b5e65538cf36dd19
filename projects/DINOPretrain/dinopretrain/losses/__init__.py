"""Losses of DINO."""
