"""FastReID 1.4.0 on today's Python, torch and numpy, with CUDA or without.

``import fastreid_compat`` before anything of fastreid is all that is needed: the released package
is repaired in memory, once, and only where it is broken. ``python -m fastreid_compat`` lists the
fixes.
"""

from .registry import FIXES, Fix, apply_all

apply_all()

__all__ = ["FIXES", "Fix", "apply_all"]
