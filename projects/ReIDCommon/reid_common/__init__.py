"""Helpers below everything: errors, files, locks, processes, tables, pictures. No FastReID."""
