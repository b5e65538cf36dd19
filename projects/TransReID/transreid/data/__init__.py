"""Data sets of TransReID; importing this registers ``ToyReID`` with FastReID."""

from .toyreid import ToyReID

__all__ = ["ToyReID"]
