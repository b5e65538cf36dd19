"""Two real processes on the CPU, started by FastReID's launch and by torchrun."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fastreid.engine import default_argument_parser, defaults, launch
from fastreid.utils import comm
from fastreid_compat.repairs.distributed import launch as distributed
from python_forks import free_port
from reid_common.errors import UserError

SCRIPT = Path(__file__).with_name("two_processes.py")


def run(*command, **environment):
    """Run Python without GPUs; what torchrun or a test before has set does not reach it."""
    unset = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS")
    env = {k: v for k, v in os.environ.items() if k not in unset}
    env |= {"CUDA_VISIBLE_DEVICES": "", **environment}
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


def check_two(folder, first, second):
    for rank, seen in enumerate((first, second)):
        assert (seen["rank"], seen["world_size"]) == (rank, 2)
        assert (seen["local_rank"], seen["local_size"]) == (rank, 2)
        assert seen["sum"] == 3.0
        assert seen["all_gather"] == ["", "y"]
        assert seen["gradient"] == [1.5, 1.5]  # mean of the inputs 1 and 2
    assert first["gather"] == [{"rank": 0, "long": ""}, {"rank": 1, "long": "x"}]
    assert second["gather"] == []
    assert first["seed"] == second["seed"]
    assert second["results"] == {}


def read(folder):
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def spawned(tmp_path_factory):
    """Folder with the files of two spawned processes; the URL they were told has a busy port."""
    folder = tmp_path_factory.mktemp("spawned")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        done = run(SCRIPT, "spawn", folder, f"tcp://127.0.0.1:{busy.getsockname()[1]}")
    assert done.returncode == 0, done.stderr
    return folder


def test_launch_spawns_two_processes_although_the_port_is_busy(spawned):
    first, second = read(spawned)
    check_two(spawned, first, second)
    wanted = max(1, distributed.num_cores() // 2)
    assert first["threads"] == second["threads"] == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="other systems spawn")
def test_spawned_processes_fork_their_loader_workers(spawned):
    assert [seen["start_method"] for seen in read(spawned)] == ["fork", "fork"]


def test_gathered_evaluation_equals_that_of_one_process(spawned):
    """The processes differ in their BN statistics: without the broadcast the figures do too."""
    single = json.loads((spawned / "single.json").read_text())
    assert read(spawned)[0]["results"] == pytest.approx(single, abs=1e-3)


def test_gathered_repeats_equal_those_of_one_process(spawned):
    single = json.loads((spawned / "repeated.json").read_text())
    first, second = read(spawned)
    assert 0 < single["mAP"] < 100 and single["mAP_std"] > 0
    assert first["repeated"] == pytest.approx(single)
    assert second["repeated"] == {}


def test_an_error_in_one_process_ends_all(tmp_path):
    done = run(SCRIPT, "fail", tmp_path, OMP_NUM_THREADS="1")
    assert done.returncode == 1
    assert "the second process has a problem" in done.stderr
    assert "ProcessRaisedException" in done.stderr


def test_torchrun(tmp_path):
    """FastReID's own launch leaves two processes that both believe to be rank 0 of 1."""
    options = ["--nproc_per_node", 2, "--master_addr", "127.0.0.1", "--master_port", free_port()]
    done = run("-m", "torch.distributed.run", *options, SCRIPT, "torchrun", tmp_path)
    assert done.returncode == 0, done.stderr
    check_two(tmp_path, *read(tmp_path))
    assert [(tmp_path / f"returned{rank}").read_text() for rank in (0, 1)] == ["1", "1"]


@pytest.fixture
def one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    calls = []
    monkeypatch.setattr(
        distributed.launch_module.mp, "spawn", lambda worker, **kwargs: calls.append(kwargs)
    )
    return calls


def test_one_process_is_called_directly(one_process):
    seen = []
    launch(seen.append, 1, args=("called",))
    assert seen == ["called"]
    assert one_process == []
    assert comm.get_world_size() == 1


def test_torchrun_with_one_process_needs_no_group(monkeypatch, one_process):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    seen = []
    launch(seen.append, 8, args=("called",))
    assert seen == ["called"]
    assert one_process == []


def test_torchrun_counts_and_disagreement_is_warned_about(monkeypatch, one_process, caplog):
    joined = []
    monkeypatch.setattr(distributed, "join_group", lambda *args: joined.append(args))
    monkeypatch.setattr(distributed, "leave_group", lambda: joined.append("left"))
    for name, value in {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    launch(joined.append, 2, args=("called",))
    assert joined == [(5, 8, 1, 4, "env://"), "called", "left"]
    assert "ask for 2 processes; torchrun's 8" in caplog.text


def test_torchrun_with_unequal_machines_is_refused(monkeypatch, one_process):
    for name, value in {"RANK": 0, "WORLD_SIZE": 5, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UserError, match="nproc_per_node"):
        launch(print, 1)


@pytest.mark.parametrize("url", ["auto", None])
def test_several_machines_need_a_url(url, one_process):
    with pytest.raises(UserError, match="tcp://HOST:PORT"):
        launch(print, 1, num_machines=2, dist_url=url)


def test_url_of_a_free_port_and_of_several_machines_stays(one_process):
    url = f"tcp://127.0.0.1:{free_port()}"
    assert distributed.usable_url(url, 1) == url
    assert distributed.usable_url("tcp://10.0.0.1:29500", 2) == "tcp://10.0.0.1:29500"
    assert distributed.usable_url("file:///tmp/meet", 1) == "file:///tmp/meet"


def test_more_processes_than_gpus_are_refused(monkeypatch, one_process):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"--num-gpus 4: this machine has 2 GPU"):
        launch(print, 4)
    launch(print, 2)
    assert one_process[0]["nprocs"] == 2


def test_default_url_is_any_free_port():
    assert default_argument_parser().parse_args([]).dist_url == "auto"
    assert default_argument_parser().parse_args(["--dist-url", "tcp://a:1"]).dist_url == "tcp://a:1"
    assert defaults.default_argument_parser is default_argument_parser


def test_threads_are_shared_unless_the_user_says_otherwise(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(distributed, "num_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    distributed.share_threads(3)
    monkeypatch.delenv("OMP_NUM_THREADS")
    distributed.share_threads(3)
    distributed.share_threads(16)
    assert asked == [2, 1]
