"""Conditional pre-training as one pipeline: what its config says, and what is recorded of a run."""
