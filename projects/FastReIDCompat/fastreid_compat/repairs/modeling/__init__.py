"""Repairs of models."""
