"""Commands of a pipeline as child processes: their output passes, they never outlive us."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from reid_common.errors import UserError
from reid_common.processes import end_with_parent

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
TICK = 10.0  # seconds between two calls of tick
LOOK = 0.5  # seconds between two looks whether a signal has come
PATIENCE = 60.0  # seconds that a child has to end after a signal


class Interrupted(KeyboardInterrupt):
    """A signal asked the pipeline to stop; its child has ended.

    Args:
        signum: of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def run_commands(
    commands: Sequence[Sequence[str]], log: Path, tick: Callable[[], None], label: str
) -> None:
    """Run commands one after the other, each as :func:`run_command` does.

    Args:
        commands: argument lists.
        log: file that their output is added to.
        tick: called now and then.
        label: what messages call them.

    Raises:
        UserError: one failed; how, and where its output is.
        Interrupted: this process was asked to stop.
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
    """Run a command; what it prints is printed, and added to a log file.

    SIGINT, SIGTERM and SIGHUP are passed on to it and to what it has started, once; a second one
    kills them; those that this process ignores (nohup) are ignored by both. If this process is
    killed the child is, too (Linux). A log that cannot be written does not end it.

    Args:
        command: argument list.
        log: file that its output is added to.
        tick: called every :data:`TICK` seconds while it runs.

    Returns:
        Its exit status; negative: the signal that ended it.

    Raises:
        Interrupted: this process was asked to stop.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with _signals() as signals, open(log, "ab", buffering=0) as file:
        process = _start(command)
        signals.process = process
        if signals.received:  # before there was a process
            signals.pass_on(signals.received[0])
        pump = threading.Thread(target=_pump, args=(process.stdout, file), daemon=True)
        pump.start()
        try:
            _wait(process, signals, tick)
            pump.join(PATIENCE)
        finally:
            if process.poll() is None:  # tick has failed
                signals.kill()
                process.wait()
    if signals.received:
        raise Interrupted(signals.received[0])
    return process.returncode


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    # Progress bars redraw ten times a second, which a log of days need not hold.
    environment = {"PYTHONUNBUFFERED": "1", "TQDM_MININTERVAL": "2", **os.environ}
    parent = os.getpid()

    # A session of its own: Ctrl-C in a terminal reaches it once, through us.
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: end_with_parent(parent),
    )


def _pump(source: IO[bytes] | None, file: IO[bytes]) -> None:
    """Copy what a child prints to our output and to a file, as it comes."""
    out = getattr(sys.stdout, "buffer", None)
    told = False
    while source is not None and (data := os.read(source.fileno(), 2**16)):
        try:
            file.write(data)
        except ValueError:  # closed after PATIENCE: a grandchild still prints
            pass
        except OSError as error:  # disk full: who stops reading makes the child wait for ever
            if not told:
                _warn(f"cannot write {str(file.name)!r}: {error.strerror}; the command continues")
            told = True
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            if out is None:
                sys.stdout.write(data.decode("utf-8", "replace"))
                sys.stdout.flush()
            else:
                out.write(data)
                out.flush()


def _warn(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads
        print(f"warning: {message}", file=sys.stderr, flush=True)


def _wait(process: subprocess.Popen[bytes], signals: _Signals, tick: Callable[[], None]) -> None:
    deadline = None
    ticked = time.monotonic()
    while True:
        try:
            process.wait(timeout=LOOK)
            return
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() - ticked > TICK:
            tick()
            ticked = time.monotonic()
        if signals.received:
            deadline = deadline or time.monotonic() + PATIENCE
            if time.monotonic() > deadline:
                signals.kill()


class _Signals:
    """Handler of the signals that stop."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.received: list[int] = []

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.received.append(signum)
        if self.process is not None:
            self.pass_on(signum if len(self.received) == 1 else signal.SIGKILL)

    def pass_on(self, signum: int) -> None:
        """Send a signal to the child and to what it has started."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signum)

    def kill(self) -> None:
        """End them at once."""
        self.pass_on(signal.SIGKILL)


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    """Take the signals while a child runs; only a main thread can, others leave them."""
    handler = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield handler
        return
    # What is ignored stays so: SIGHUP under nohup, SIGINT of what a script starts with &. None is a
    # handler that Python has not set and cannot put back.
    left = (signal.SIG_IGN, None)
    taken = [number for number in STOPPING if signal.getsignal(number) not in left]
    before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield handler
    finally:
        for number, old in before.items():
            signal.signal(number, old)
