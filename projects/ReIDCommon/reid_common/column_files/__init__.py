"""Columns in ``.npz`` and ``.parquet`` files: one codec for features, results and rankings."""
