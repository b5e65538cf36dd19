"""What ``import fastreid`` itself needs: names that torch and Python have removed."""

from __future__ import annotations

import collections
import collections.abc
import importlib.util
import sys
import types

from ...registry import fix


@fix(
    where="data/build.py:11",
    since="torch 2.0",
    symptom="ModuleNotFoundError: No module named 'torch._six'",
)
def torch_six() -> bool:
    """Provide ``torch._six.string_classes``, the only name that FastReID takes from it."""
    if "torch._six" in sys.modules or importlib.util.find_spec("torch._six") is not None:
        return False
    module = types.ModuleType("torch._six")
    module.string_classes = (str, bytes)  # type: ignore[attr-defined]
    sys.modules["torch._six"] = module
    return True


@fix(
    where="data/build.py:12, evaluation/testing.py:5",
    since="Python 3.10",
    symptom="ImportError: cannot import name 'Mapping' from 'collections'",
)
def collections_mapping() -> bool:
    """Put ``Mapping`` back into ``collections``."""
    if hasattr(collections, "Mapping"):
        return False
    collections.Mapping = collections.abc.Mapping  # type: ignore[attr-defined]
    return True
