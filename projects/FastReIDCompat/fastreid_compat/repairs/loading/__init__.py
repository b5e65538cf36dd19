"""Repairs of loaders, samplers, transforms and their seeds."""
