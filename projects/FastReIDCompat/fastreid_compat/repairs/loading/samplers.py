"""Training samplers: batches that cannot be filled are refused instead of waited for.

K is DATALOADER.NUM_INSTANCE, the images of one identity in a batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from fastreid.data.samplers import triplet_sampler
from fastreid.utils import comm
from reid_common.errors import UserError

from ...registry import fix, source_has


def check_instances(sampler: str, batch_per_process: int, instances: int) -> None:
    """Raise UserError when a process's batch cannot hold ``instances`` images of each identity."""
    if instances < 1 or batch_per_process < instances or batch_per_process % instances:
        raise UserError(
            f"DATALOADER.NUM_INSTANCE: {sampler} cannot fill the {batch_per_process} images per "
            f"process with {instances} of each identity. Set SOLVER.IMS_PER_BATCH divided by the "
            f"number of processes to a multiple of DATALOADER.NUM_INSTANCE."
        )


def check_identities(sampler: Any) -> None:
    """Raise UserError when a Balanced- or NaiveIdentitySampler can never draw a whole batch.

    A batch of B images takes B / K identities. The balanced sampler drops the identities of a round
    with fewer; the naive one draws for each process in turn, an identity at most (its images) // K
    times.
    """
    name, batch, instances = type(sampler).__name__, sampler.batch_size, sampler.num_instances
    world_size = sampler._world_size
    check_instances(name, batch // world_size, instances)
    found = turns = sampler.num_identities
    if isinstance(sampler, triplet_sampler.NaiveIdentitySampler):
        images = map(len, sampler.pid_index.values())
        turns = sum(min(max(count // instances, 1), world_size) for count in images)
    if turns < batch // instances:
        raise UserError(
            f"{name}: the training set has too few identities ({found}) for batches of {batch} "
            f"images ({batch // instances} identities, {instances} images each). Lower "
            f"SOLVER.IMS_PER_BATCH to at most {found * instances}, raise DATALOADER.NUM_INSTANCE, "
            "or train on more identities."
        )


def _camera_order(camera: Any) -> tuple[str, int]:
    """Sort cameras by data set, then by number: ``msmt17_10`` comes after ``msmt17_9``."""
    name, number = re.fullmatch(r"(.*?)(\d*)", str(camera)).groups()  # type: ignore[union-attr]
    return name, int(number or 0)


def rounds_of_cameras(sets: list[int], num_cameras: int, batch: int, instances: int) -> int:
    """Return how many times the weights fit into a batch.

    Raises:
        UserError: they do not fit, or are not one for each camera.
    """
    if len(sets) != num_cameras:
        raise UserError(
            f"DATALOADER.SET_WEIGHT: {list(sets)} has {len(sets)} weights, but the training set "
            f"has {num_cameras} cameras. Give each camera one: its number of identities in a group."
        )
    group = sum(sets) * instances
    if group < 1 or batch % group or batch == group:
        raise UserError(
            f"DATALOADER.SET_WEIGHT: {list(sets)} with DATALOADER.NUM_INSTANCE {instances} makes "
            f"groups of {group} images. Set SOLVER.IMS_PER_BATCH ({batch}) to a multiple of it, "
            f"such as {2 * group}."
        )
    return batch // group


@fix(
    where="data/samplers/triplet_sampler.py:84,241",
    symptom="Naive- and BalancedIdentitySampler: an ENDLESS LOOP when the training set has fewer "
    "identities than a batch, or when a batch is no multiple of K",
)
def identity_samplers() -> bool:
    """Look at the training set when the sampler is made, and refuse what would never end."""
    for cls in (triplet_sampler.BalancedIdentitySampler, triplet_sampler.NaiveIdentitySampler):
        _check_after_init(cls)
    return True


def _check_after_init(cls: Any) -> None:
    original = cls.__init__

    def __init__(
        self: Any,
        data_source: Any,
        mini_batch_size: int,
        num_instances: int,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if num_instances < 1:
            check_instances(cls.__name__, mini_batch_size, num_instances)
        original(self, data_source, mini_batch_size, num_instances, *args, **kwargs)
        check_identities(self)

    cls.__init__ = __init__


@fix(
    where="data/samplers/triplet_sampler.py:135,181,191",
    symptom="SetReWeightSampler: 'a' cannot be empty, could not be broadcast; then an ENDLESS LOOP",
)
def set_reweight_sampler() -> bool:
    """Draw whole batches with the asked share of each camera.

    The released sampler indexes cameras 0, 1, ... where FastReID names them ``market1501_0``, adds
    an array to a list, and throws away each round that is not exactly a batch, which its own
    assertion forbids a round to be. Repaired: rounds are drawn until the batch is full.
    """
    cls = triplet_sampler.SetReWeightSampler
    if not source_has(cls.__init__, "self.batch_size > sum("):
        return False
    original = cls.__init__

    def __init__(
        self: Any,
        data_source: Any,
        mini_batch_size: int,
        num_instances: int,
        set_weight: list[int],
        seed: int | None = None,
    ) -> None:
        check_instances("SetReWeightSampler", mini_batch_size, num_instances)
        batch = mini_batch_size * comm.get_world_size()
        self.cameras = sorted({item[2] for item in data_source}, key=_camera_order)
        self.rounds = rounds_of_cameras(set_weight, len(self.cameras), batch, num_instances)
        original(self, data_source, mini_batch_size, num_instances, set_weight, seed)
        for camera, weight in zip(self.cameras, set_weight, strict=True):
            if len(self.cam_pid[camera]) < weight:
                raise UserError(
                    f"DATALOADER.SET_WEIGHT: {weight} for camera {camera}, which has no more than "
                    f"{len(self.cam_pid[camera])} images. Lower this weight."
                )

    cls.__init__ = __init__
    cls._infinite_indices = _infinite_batches
    return True


def _infinite_batches(self: Any) -> Iterator[int]:
    """Yield the indices of one batch after the other; ``self`` is a SetReWeightSampler."""
    random = np.random.RandomState(self._seed)
    while True:
        batch: list[int] = []
        for camera, weight in list(zip(self.cameras, self.set_weight, strict=True)) * self.rounds:
            pids = self.cam_pid[camera]
            chosen = random.choice(len(pids), weight, replace=False, p=self.set_pid_prob[camera])
            for pid in chosen:
                images = self.pid_index[pids[pid]]
                few = len(images) < self.num_instances
                batch += random.choice(images, self.num_instances, replace=few).tolist()
        random.shuffle(batch)
        yield from triplet_sampler.reorder_index(batch, self._world_size)
