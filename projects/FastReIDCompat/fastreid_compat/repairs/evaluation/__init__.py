"""Repairs of distances, ranking and protocols."""
