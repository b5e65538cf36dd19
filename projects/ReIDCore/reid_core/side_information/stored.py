"""The camera table in a checkpoint: which camera of which data set a row of the SIE stands for."""

from __future__ import annotations

import torch
from reid_common.errors import UserError
from torch import Tensor

TABLE_BYTES = 1024


def encode_table(text: str) -> Tensor:
    """Camera table as a (1024,) uint8 tensor, padded with zeros (state dicts hold tensors)."""
    data = text.encode()
    if len(data) > TABLE_BYTES:
        raise UserError(f"the camera table is {len(data)} bytes, at most {TABLE_BYTES} fit: {text}")
    return torch.frombuffer(bytearray(data.ljust(TABLE_BYTES, b"\0")), dtype=torch.uint8).clone()


def decode_table(table: Tensor) -> str:
    """Inverse of :func:`encode_table`."""
    return bytes(table.tolist()).rstrip(b"\0").decode()
