"""Catastrophic forgetting scores: two models, one pass over the images, resumable shards."""
