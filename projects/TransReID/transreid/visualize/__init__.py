"""Attention maps and pictures of what a model has learnt."""
