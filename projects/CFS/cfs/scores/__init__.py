"""Scores on disk: shards, reading, summaries, selection, lists, pictures."""
