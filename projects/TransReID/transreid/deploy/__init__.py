"""Trained models on their way into use: files for other programs."""
