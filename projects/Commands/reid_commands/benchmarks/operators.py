"""Counts the operators of a step, and those that make a host wait for its GPU, on any device.

On a GPU each of the latter ends the queue of work: the host waits for a value, and the GPU then for
the host. A CPU has no queue, but the operators are the same, and so they can be counted there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

# Operators whose result, or its shape, the host needs; lift_fresh: torch.tensor(numbers), a copy of
# the host's memory that the host waits for (torch.from_numpy makes none and is not counted).
WAITING = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "histc",
    "lift_fresh",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
METHODS = ("tolist", "numpy", "cpu")  # of tensors: operators with a GPU only
MASKED = {"index", "index_put", "index_put_", "_index_put_impl_"}  # by a mask: nonzero inside


class Operators(TorchDispatchMode):
    """Counts operators by name, and those that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.all: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.partition("::")[2]
        self.all[name] += 1
        if name in WAITING or (name in MASKED and _has_mask(args[1])):
            self.waits[name] += 1
        return func(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    """Counts the methods that fetch a tensor, which are no operators on a CPU."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in METHODS and isinstance(args[0], Tensor):
            self.waits[func.__name__] += 1
        return func(*args, **(kwargs or {}))


def _has_mask(indices: Any) -> bool:
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


@contextmanager
def counted() -> Iterator[Operators]:
    """Count the operators of a block, its backward passes included."""
    operators, from_numpy = Operators(), torch.from_numpy

    def shared(array: Any) -> Tensor:
        with _disable_current_modes():
            return from_numpy(array)

    with operators, Methods(operators.waits), patch.object(torch, "from_numpy", shared):
        yield operators
