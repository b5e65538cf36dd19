"""Metrics of a step stay on the device until somebody reads them.

Whoever turns a tensor on a GPU into a number waits until the GPU has done all that was asked of it,
and the GPU then waits for the next request. So the event storage takes tensors as they are, and
fetches all of them at once when a metric is read: by the writers, every 200 iterations and at the
end of an epoch.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from fastreid.engine import train_loop
from fastreid.utils import comm, events
from fastreid.utils.events import EventStorage, get_event_storage
from torch import Tensor

from ...registry import fix, source_has
from .finite_loss import LossNotFinite

PERIOD = 200  # iterations between two looks at the metrics; that of FastReID's writers

Take = Callable[[list[float], int], None]  # numbers and the iteration that they are of
READERS = ("history", "histories", "latest", "latest_with_smoothing_hint")


def read_later(
    storage: EventStorage, values: Tensor, take: Take, names: Sequence[str] = ()
) -> None:
    """Have ``take`` called with the numbers of ``values`` (n,) when metrics are read next.

    The order is that of the calls. ``values`` must not be written to any more. They are the latest
    values of the metrics ``names``, if some are given.
    """
    values = values.detach().flatten()
    _unread(storage).append((values, storage.iter, take))
    known = vars(storage).setdefault("_unread_values", {})
    known.update({name: (values, place) for place, name in enumerate(names)})


def read_metrics(storage: EventStorage) -> None:
    """Fetch what was put as a tensor, with one wait for the device.

    Raises:
        LossNotFinite: a loss of an iteration since the last time was NaN or infinite.
    """
    waiting = _unread(storage)
    if not waiting:
        return
    storage._unread, storage._unread_values = [], {}
    of_device = defaultdict(list)
    for values, _, _ in waiting:
        of_device[values.device].append(values)
    fetched = {device: iter(_numbers(values)) for device, values in of_device.items()}
    for values, iteration, take in waiting:
        numbers = fetched[values.device]
        take([next(numbers) for _ in range(len(values))], iteration)


def latest_value(storage: EventStorage, name: str) -> Tensor | float | None:
    """The latest value of a metric, without a wait: a tensor, if it was not read since."""
    unread = vars(storage).get("_unread_values", {})
    if name in unread:
        values, place = unread[name]
        return values[place]
    latest = storage._latest_scalars.get(name)
    return None if latest is None else latest[0]


def current_storage() -> EventStorage | None:
    """The storage of the trainer that runs, if one does."""
    return get_event_storage() if events._CURRENT_STORAGE_STACK else None


def _unread(storage: EventStorage) -> list[tuple[Tensor, int, Take]]:
    return vars(storage).setdefault("_unread", [])


def _numbers(values: list[Tensor]) -> list[float]:
    wide = torch.float32 if values[0].device.type == "mps" else torch.float64
    return torch.cat([value.to(wide) for value in values]).tolist()


def _announce(storage: EventStorage, *names: str, smoothing_hint: bool = True) -> None:
    """Writers show metrics in the order in which they came first."""
    for name in names:
        storage._history[name]
        storage._smoothing_hints.setdefault(name, smoothing_hint)


def put_at(
    storage: EventStorage, name: str, value: float, iteration: int, smoothing_hint: bool = True
) -> None:
    """Put a number that is of an earlier iteration; for functions of :func:`read_later`."""
    _announce(storage, name, smoothing_hint=smoothing_hint)
    storage._history[name].update(value, iteration)
    storage._latest_scalars[name] = (value, iteration)


@fix(
    where="utils/events.py:304, modeling/losses/cross_entroy_loss.py:27",
    symptom="a GPU waits several times a step, for metrics that are shown every 200 steps",
)
def metrics_stay_on_the_device() -> bool:
    """Let the event storage take tensors, and fetch them when a metric is read."""
    if not source_has(EventStorage.latest, "return self._latest_scalars"):
        return False
    put_number = EventStorage.put_scalar

    @functools.wraps(put_number)
    def put_scalar(self: EventStorage, name: str, value: Any, smoothing_hint: bool = True) -> None:
        full = self._current_prefix + name
        if not isinstance(value, Tensor) or value.numel() != 1:
            value = float(value)
            if full in vars(self).get("_unread_values", {}):
                read_metrics(self)
            return put_number(self, name, value, smoothing_hint)
        _announce(self, full, smoothing_hint=smoothing_hint)
        if self._smoothing_hints[full] != smoothing_hint:
            raise AssertionError(f"Scalar {full} was put with a different smoothing_hint!")
        take = functools.partial(_take_scalar, self, full, smoothing_hint)
        read_later(self, value.detach().clone(), take, [full])

    EventStorage.put_scalar = put_scalar
    for name in READERS:
        setattr(EventStorage, name, _reading(getattr(EventStorage, name)))
    return True


def _take_scalar(
    storage: EventStorage, name: str, smoothing_hint: bool, numbers: list[float], iteration: int
) -> None:
    put_at(storage, name, numbers[0], iteration, smoothing_hint)


def _reading(reader: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(reader)
    def read_first(self: EventStorage, *args: Any, **kwargs: Any) -> Any:
        read_metrics(self)
        return reader(self, *args, **kwargs)

    return read_first


@fix(
    where="engine/train_loop.py:252-293",
    symptom="each step waits for its losses; FloatingPointError: Loss became infinite or NaN, "
    "without the loss, nor what to change",
)
def losses_stay_on_the_device() -> bool:
    """Average losses on the device; where one is not finite, name it, its iteration, the keys to
    change and the last usable checkpoint, when metrics are read."""
    if not source_has(train_loop.SimpleTrainer._write_metrics, "comm.gather(metrics_dict)"):
        return False
    train_loop.SimpleTrainer._write_metrics = _write_metrics
    return True


def _write_metrics(self: Any, loss_dict: Mapping[str, Tensor], data_time: float) -> None:
    """Put the mean of each loss over all processes, and the longest wait for a batch."""
    storage = get_event_storage()
    losses = torch.stack([loss.detach().float().reshape(()) for loss in loss_dict.values()])
    slowest: Tensor | float = data_time
    if comm.get_world_size() > 1:
        table = _of_all_processes(torch.cat([losses, losses.new_full((1,), data_time)]))
        losses, slowest = table[:, :-1].mean(0), table[:, -1].max()
    storage.put_scalar("data_time", slowest)
    names = list(loss_dict)
    _announce(storage, "total_loss", *(names if len(names) > 1 else []))
    read_later(storage, losses, functools.partial(_take_losses, storage, names), names)


def _of_all_processes(row: Tensor) -> Tensor:
    """(n,) of each process -> (processes, n)."""
    rows = [torch.empty_like(row) for _ in range(comm.get_world_size())]
    torch.distributed.all_gather(rows, row)
    return torch.stack(rows)


def _take_losses(
    storage: EventStorage, names: list[str], numbers: list[float], iteration: int
) -> None:
    total = sum(numbers)
    if not math.isfinite(total):
        losses = zip(names, numbers, strict=True)
        bad = [f"{name} is {value}" for name, value in losses if not math.isfinite(value)]
        raise LossNotFinite(" and ".join(bad) or f"the sum of losses is {total}", iteration)
    put_at(storage, "total_loss", total, iteration)
    if len(names) > 1:
        for name, value in zip(names, numbers, strict=True):
            put_at(storage, name, value, iteration)
