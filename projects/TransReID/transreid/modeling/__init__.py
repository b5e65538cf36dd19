"""Backbone, side information embedding, heads, meta-architecture."""
