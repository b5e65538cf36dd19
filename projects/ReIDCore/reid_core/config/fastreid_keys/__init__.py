"""FastReID's own keys that a run reads, declared by section."""

from .data import KEYS as DATA_KEYS
from .losses import KEYS as LOSS_KEYS
from .model import KEYS as MODEL_KEYS
from .rules import RULES
from .solver import KEYS as SOLVER_KEYS
from .test import KEYS as TEST_KEYS

KEYS = (*MODEL_KEYS, *LOSS_KEYS, *DATA_KEYS, *SOLVER_KEYS, *TEST_KEYS)

__all__ = ["KEYS", "RULES"]
