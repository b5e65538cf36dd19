"""Weights of other origins: recognised, brought under our names, made to fit."""
