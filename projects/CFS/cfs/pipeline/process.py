"""Commands of a pipeline as child processes: their output passes, they never outlive us."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from reid_common.errors import UserError
from reid_common.processes import end_with_parent

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TICK = 10.0  # seconds between two calls of tick
PATIENCE = 60.0  # seconds that a child has to end after a signal


class Interrupted(KeyboardInterrupt):
    """A signal asked the pipeline to stop; its child has ended."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def run_commands(
    commands: Sequence[Sequence[str]], log: Path, tick: Callable[[], None], label: str
) -> None:
    """Run commands one after the other as :func:`run_command` does; messages call them ``label``.

    Raises:
        UserError: one failed; how, and where its output is.
    """
    for command in commands:
        status = run_command(command, log, tick)
        if status:
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else ""
            raise UserError(
                f"{label} failed: {how or f'exit status {status}'}. Its output is in "
                f"{str(log)!r}; its command: {shlex.join(command)}. Nothing that was done is lost: "
                "when the cause is removed, the same command of the pipeline resumes from here"
            )


def run_command(command: Sequence[str], log: Path, tick: Callable[[], None]) -> int:
    """Run a command; what it prints is printed, and added to a log file, whose folder is made.

    SIGINT, SIGTERM and SIGHUP are passed on to it and to what it has started, once; a second one
    kills them; those that this process ignores (nohup) are ignored by both. If this process is
    killed the child is, too (Linux). A log that cannot be written does not end it. ``tick`` is
    called every :data:`TICK` seconds while it runs.

    Returns:
        Its exit status; negative: the signal that ended it.

    Raises:
        Interrupted: this process was asked to stop.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab", buffering=0) as file, _stop_signals():
        process = _start(command)
        assert process.stdout is not None
        pump = threading.Thread(target=_pump, args=(process.stdout, file), daemon=True)
        pump.start()
        try:
            _wait(process, tick)
        finally:  # interrupted twice, or tick has failed
            _signal(process, signal.SIGKILL)
            process.wait()
            pump.join(PATIENCE)
    return process.returncode


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    return subprocess.Popen(
        command,
        # Progress bars redraw ten times a second, which a log of days need not hold.
        env={"PYTHONUNBUFFERED": "1", "TQDM_MININTERVAL": "2", **os.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C in a terminal reaches it once, through us
        preexec_fn=lambda: end_with_parent(parent),
    )


def _pump(source: IO[bytes], file: IO[bytes]) -> None:
    """Copy what a child prints to our output and to a file, as it comes."""
    out = getattr(sys.stdout, "buffer", None)
    told = False
    while data := os.read(source.fileno(), 2**16):
        try:
            file.write(data)
        except ValueError:  # closed after PATIENCE: a grandchild still prints
            pass
        except OSError as error:  # disk full: who stops reading makes the child wait for ever
            if not told:
                told = True
                text = f"cannot write {str(file.name)!r}: {error.strerror}; the command continues"
                with contextlib.suppress(OSError, ValueError):  # nobody reads
                    print(f"warning: {text}", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            if out is None:
                print(data.decode("utf-8", "replace"), end="", flush=True)
            else:
                out.write(data)
                out.flush()


def _wait(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> None:
    """Wait for a child; pass a signal on to it and wait for :data:`PATIENCE`."""
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=TICK)
                return
            tick()
    except Interrupted as interruption:
        _signal(process, interruption.signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=PATIENCE)
        raise


def _signal(process: subprocess.Popen[bytes], signum: int) -> None:
    """Send a signal to a child that still runs, and to what it has started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signum)


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Have signals raise Interrupted while a child runs; only a main thread can."""

    def interrupt(signum: int, _: FrameType | None) -> None:
        raise Interrupted(signum)

    taken = []
    if threading.current_thread() is threading.main_thread():
        # What is ignored stays so: SIGHUP under nohup, SIGINT of what a script starts with &. None
        # is a handler that Python has not set and cannot put back.
        left = (signal.SIG_IGN, None)
        taken = [number for number in STOPPING if signal.getsignal(number) not in left]
    before = {number: signal.signal(number, interrupt) for number in taken}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
