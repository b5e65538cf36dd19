"""What processes exchange: gradients on a CPU, pickled objects, and one model for testing."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import torch
import torch.distributed as dist
from fastreid.engine import defaults
from fastreid.evaluation import evaluator
from fastreid.utils import comm
from torch.nn.parallel import DistributedDataParallel

from ...registry import Original, fix, replace, replaces


@fix(
    where="engine/defaults.py:211",
    symptom="training on several CPU processes: ValueError about device_ids",
)
def data_parallel_anywhere() -> bool:
    """Pass no device ids for a model on the CPU, and the new name of ``broadcast_buffers``.

    Under the new name (torch 2.15) all processes start with the same buffers, MoCo's queue among
    them; the old name warns, and leaves each with its own.
    """
    if defaults.DistributedDataParallel is not DistributedDataParallel:
        return False

    renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters

    class DataParallel(DistributedDataParallel):
        """DistributedDataParallel as FastReID calls it, on any device and with any torch."""

        def __init__(
            self, module: torch.nn.Module, device_ids: Any = None, *args: Any, **kwargs: Any
        ) -> None:
            if all(parameter.device.type == "cpu" for parameter in module.parameters()):
                device_ids = None
            if renamed and "broadcast_buffers" in kwargs:
                kwargs["forward_sync_buffers"] = kwargs.pop("broadcast_buffers")
            super().__init__(module, device_ids, *args, **kwargs)

    defaults.DistributedDataParallel = DataParallel
    return True


@fix(
    where="utils/comm.py:106",
    since="torch 2.0",
    symptom="UserWarning at each gather: TypedStorage is deprecated (and ByteStorage will go)",
)
def gather_without_storage() -> bool:
    """Turn pickled objects into tensors with ``torch.frombuffer``."""
    return replace(comm._serialize_to_tensor, serialize, "torch.ByteStorage.from_buffer")


def serialize(data: Any, group: Any) -> torch.Tensor:
    """Pickle ``data`` into a tensor of bytes on the device with which ``group`` communicates."""
    device = "cpu" if dist.get_backend(group) == "gloo" else "cuda"
    # A bytearray, because torch warns about buffers that it could not write to.
    return torch.frombuffer(bytearray(pickle.dumps(data)), dtype=torch.uint8).to(device)


def broadcast_buffers(model: torch.nn.Module) -> None:
    """Overwrite the buffers of ``model`` in all processes by those of rank 0, which it saves."""
    if comm.get_world_size() == 1:
        return
    on_gpu_only = dist.get_backend() == "nccl"
    for buffer in model.buffers():
        if buffer.is_cuda or not on_gpu_only:
            dist.broadcast(buffer, src=0)


@fix(
    where="engine/defaults.py:211, evaluation/evaluator.py:110",
    symptom="several processes: SILENT, each extracts its share of the test set with its own BN "
    "statistics, which no checkpoint holds",
)
@replaces(evaluator, "inference_on_dataset", "with inference_context(model), torch.no_grad():")
def one_model_for_testing(
    original: Original,
    model: torch.nn.Module,
    data_loader: Any,
    evaluator: Any,
    flip_test: bool = False,
) -> Any:
    """Evaluate with the buffers of rank 0 in all processes: the model that the checkpoint holds."""
    with torch.no_grad():
        broadcast_buffers(model)
    return original(model, data_loader, evaluator, flip_test)
