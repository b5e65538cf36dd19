"""Distances in blocks: features, Jaccard of k-reciprocal neighbours, expansion."""
