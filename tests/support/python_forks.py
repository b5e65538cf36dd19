"""Commands as ``python ...``, in forks of one process that has imported torch and the projects.

A start of Python that imports torch takes seconds; a fork takes none. The process is
multiprocessing's fork server: nothing is calculated in it, so that a fork is as good as new.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

CONTEXT = multiprocessing.get_context("forkserver")
IMPORTED = ["reid_commands.train", "reid_commands.scores.score", "cfs.pipeline.run"]
IMPORTED += ["clustercontrast", "torchvision", "sklearn.metrics", "timm"]
RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Fork:
    """A started command, with what tests use of subprocess.Popen."""

    def __init__(self, words: Sequence[object], environment: Mapping[str, str], cwd: Path) -> None:
        self.args = [str(word) for word in words]
        self.folder = tempfile.TemporaryDirectory(prefix="fork-")
        self.out, self.err = (Path(self.folder.name, name) for name in ("out", "err"))
        given = (self.args, dict(environment), str(cwd), str(self.out), str(self.err))
        self.process = CONTEXT.Process(target=_python, args=given)
        _serve()
        self.process.start()
        self.pid = self.process.pid
        self.terminate, self.kill = self.process.terminate, self.process.kill

    @property
    def returncode(self) -> int | None:
        """As subprocess': minus the number of the signal that ended it."""
        return self.process.exitcode

    def finish(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Wait for its end; returns its exit status and what it wrote."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired(self.args, timeout)
        out, err = (path.read_text() if path.exists() else "" for path in (self.out, self.err))
        return subprocess.CompletedProcess(self.args, self.process.exitcode, out, err)


def start(
    *words: object, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Fork:
    """Start ``python WORDS``: a script, or ``-m`` and a module, and its arguments.

    Args:
        words: what follows ``python``.
        environment: variables beside those of the test, less those of torchrun.
        cwd: where it runs; None: here.
    """
    here = {name: value for name, value in os.environ.items() if name not in RANKS}
    here |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **(environment or {})}
    return Fork(words, here, cwd or Path.cwd())


def run(
    *words: object, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run`` of ``python WORDS``, see start()."""
    return start(*words, environment=environment, cwd=cwd).finish()


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_together(processes: int, *words: object) -> subprocess.CompletedProcess[str]:
    """``torchrun --nproc_per_node PROCESSES WORDS``, without torchrun; what all of them wrote.

    FastReID's launch joins processes that were started so, whatever number it is asked for.
    """
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    common |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
    started = [
        start(*words, environment={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]
    done = [process.finish() for process in started]
    status = next((one.returncode for one in done if one.returncode), 0)
    out, err = ("".join(texts) for texts in zip(*((x.stdout, x.stderr) for x in done), strict=True))
    return subprocess.CompletedProcess(done[0].args, status, out, err)


def _serve() -> None:
    """Start the fork server, once: with one thread and without a GPU, as the tests are."""
    CONTEXT.set_forkserver_preload(IMPORTED)
    with patch.dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES=""):
        forkserver.ensure_running()


def _python(words: list[str], environment: dict[str, str], cwd: str, out: str, err: str) -> None:
    """In the fork: what Python does between its start and the first line of a script."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    multiprocessing.set_start_method(None, force=True)  # its own processes start as everybody's
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")
