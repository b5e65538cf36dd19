"""Repairs of the import and of the config."""
