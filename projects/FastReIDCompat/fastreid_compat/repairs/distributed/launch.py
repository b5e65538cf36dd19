"""Several processes: with GPUs or without, started by FastReID's ``launch`` or by torchrun.

``launch`` starts ``num_gpus_per_machine`` processes on each machine: one for each GPU with NCCL or,
on a machine without GPUs, that many on the CPU with gloo. Under torchrun they exist already.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import socket
import sys
import urllib.parse
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fastreid.engine import defaults
from fastreid.utils import comm
from reid_common.errors import UserError

from ...registry import Original, fix, rebind, replace, replaces

logger = logging.getLogger(__name__)

# The attribute fastreid.engine.launch is the function of that name, which hides the module.
launch_module = sys.modules["fastreid.engine.launch"]


def join_group(rank: int, world_size: int, local_rank: int, local_size: int, url: str) -> None:
    """Make this process ``rank`` of ``world_size`` and set FastReID's group of the machine."""
    use_cuda = torch.cuda.is_available()
    if use_cuda:
        torch.cuda.set_device(local_rank)
    else:
        share_threads(local_size)
    try:
        dist.init_process_group(
            "nccl" if use_cuda else "gloo", init_method=url, world_size=world_size, rank=rank
        )
    except Exception:
        logger.error("Process group URL: %s", url)
        raise
    comm.synchronize()
    for first in range(0, world_size, local_size):
        group = dist.new_group(list(range(first, first + local_size)))
        if first <= rank < first + local_size:
            comm._LOCAL_PROCESS_GROUP = group


def leave_group() -> None:
    """Wait for the other processes, so that none loses its peer early, and leave the group."""
    comm.synchronize()
    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()


def share_threads(num_processes: int) -> None:
    """Give each process on the CPU its share of the cores, unless OMP_NUM_THREADS says how many."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, num_cores() // num_processes))


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def distributed_worker(
    local_rank: int,
    main_func: Callable[..., Any],
    world_size: int,
    num_gpus_per_machine: int,
    machine_rank: int,
    dist_url: str,
    args: tuple[Any, ...],
) -> None:
    """Run ``main_func`` as one of the processes that ``launch`` has spawned.

    That the function lives here is what repairs FastReID in the children: unpickling it imports
    this package. When ``main_func`` raises, the parent ends the other processes.
    """
    if sys.platform == "linux":
        # A spawned process spawns its loader workers too, each of which imports everything anew.
        # Forking them is what FastReID does in one process.
        mp.set_start_method("fork", force=True)
    rank = machine_rank * num_gpus_per_machine + local_rank
    join_group(rank, world_size, local_rank, num_gpus_per_machine, dist_url)
    main_func(*args)
    leave_group()


def usable_url(dist_url: str | None, num_machines: int) -> str:
    """Return the URL at which the processes meet; "auto" when a single machine's port is taken.

    Raises:
        UserError: several machines without a URL of the first of them.
    """
    if dist_url is None or dist_url == "auto":
        if num_machines > 1:
            raise UserError(
                f"--dist-url {dist_url} does not say where {num_machines} machines meet. Give each "
                "of them --dist-url tcp://HOST:PORT with the address of machine 0, a free port."
            )
        return "auto"
    parts = urllib.parse.urlsplit(dist_url)
    if num_machines > 1 or parts.scheme != "tcp" or not parts.port:
        return dist_url
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                logger.warning("--dist-url %s: the port is taken, using a free one", dist_url)
                return "auto"
    return dist_url


def run_under_torchrun(main_func: Callable[..., Any], args: tuple[Any, ...], asked: int) -> None:
    """Join the group that torchrun describes in the environment and run ``main_func`` once.

    Args:
        main_func: what to run.
        args: its arguments.
        asked: number of processes that the arguments of ``launch`` ask for.
    """
    world_size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    local_rank = int(os.environ.get("LOCAL_RANK", rank % local_size))
    if asked not in (1, world_size):
        logger.warning(
            "--num-gpus and --num-machines ask for %d processes; torchrun's %d are what counts",
            asked,
            world_size,
        )
    if world_size % local_size:
        raise UserError(
            f"torchrun has started WORLD_SIZE={world_size} processes, {local_size} of them here; "
            "FastReID needs as many on each machine: set --nproc_per_node to one number everywhere."
        )
    if world_size == 1 or dist.is_initialized():
        main_func(*args)
        return
    join_group(rank, world_size, local_rank, local_size, "env://")
    main_func(*args)
    leave_group()


@fix(
    where="engine/launch.py:77,81,91,92",
    symptom="several processes on a CPU: AssertionError: cuda is not available",
)
def launch_worker() -> bool:
    """Spawn :func:`distributed_worker`: gloo without GPUs, forked loader workers, all fixes."""
    original = launch_module._distributed_worker  # type: ignore[attr-defined]
    return replace(original, distributed_worker, "assert torch.cuda.is_available()")


@fix(
    where="engine/launch.py:34, utils/comm.py:45",
    symptom="torchrun: SILENT, every process believes to be rank 0 of 1 and overwrites the files; "
    "two runs of one user at a time: Address already in use",
)
@replaces(launch_module, "launch", "nprocs=num_gpus_per_machine")
def launch_anywhere(
    original: Original,
    main_func: Callable[..., Any],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple[Any, ...] = (),
) -> None:
    """Join torchrun's processes where there are any; avoid a port that is taken."""
    world_size = num_machines * num_gpus_per_machine
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        run_under_torchrun(main_func, args, world_size)
        return
    if world_size > 1:
        dist_url = usable_url(dist_url, num_machines)
        _check_gpus(num_gpus_per_machine)
    original(main_func, num_gpus_per_machine, num_machines, machine_rank, dist_url, args)


def _check_gpus(num_processes: int) -> None:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if 0 < found < num_processes:
        raise UserError(
            f"--num-gpus {num_processes}: this machine has {found} GPU(s). Ask for no more; to run "
            "on the CPU, hide the GPUs with CUDA_VISIBLE_DEVICES=''."
        )


@fix(
    where="engine/defaults.py:61",
    symptom="a second run of the same user: Address already in use (the port is fixed per user)",
)
def free_port_by_default() -> bool:
    """Let the default of ``--dist-url`` be "auto": any free port."""
    original = defaults.default_argument_parser
    if original().get_default("dist_url") == "auto":
        return False

    @functools.wraps(original)
    def default_argument_parser() -> Any:
        parser = original()
        parser.set_defaults(dist_url="auto")
        return parser

    rebind(original, default_argument_parser)
    return True
