"""Conditional pre-training: seven stages that are recorded, skipped when done, and resumed."""
