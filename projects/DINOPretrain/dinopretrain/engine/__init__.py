"""Trainer, training step and its watch."""
