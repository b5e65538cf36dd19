"""The device that a command computes on."""

from __future__ import annotations

import os

import torch
from reid_common.errors import UserError
from torch import Tensor


def find_device(device: str | torch.device) -> torch.device:
    """Return the torch device of a name; "auto" is CUDA if there is one, else the CPU.

    Raises:
        UserError: no such device on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"device {str(device)!r} is not available ({reason}); use auto or cpu"
        ) from error
    return found


def device_of_process(name: str) -> torch.device:
    """:func:`find_device`; of several processes that torchrun starts each has its own GPU."""
    device = find_device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return device


def from_host(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a small tensor of the host to a device, without waiting for what the device has to do.

    Memory that is not pinned would make the host wait.
    """
    tensor = tensor.pin_memory() if device.type == "cuda" else tensor
    return tensor.to(device, non_blocking=True)
