"""Repairs of FastReID's data sets."""
