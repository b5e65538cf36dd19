"""Children of a pipeline: their output passes, signals reach them, they do not outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cfs.pipeline import process as pipeline_process

TOOLS = Path(__file__).parents[3] / "tools"
WRITES_PID = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid()))\n"
SLEEPS = WRITES_PID + "time.sleep(600)"
# Ends itself in its own way when it is told to stop.
STOPS = (
    "import signal, sys\nsignal.signal(int(sys.argv[2]), lambda *_: (print('bye'), sys.exit(3)))\n"
    + SLEEPS
)


def command(script: str, *words: object) -> list[str]:
    return [sys.executable, "-c", script, *map(str, words)]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """As in a terminal, whatever started the tests: in a script's background SIGINT is ignored."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_output_and_exit_status(tmp_path, capfd) -> None:
    log = tmp_path / "stages" / "a.log"
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(4)"
    for _ in range(2):
        assert pipeline_process.run_command(command(script), log, lambda: None) == 4
    assert sorted(log.read_text().split()) == ["err", "err", "out", "out"]
    assert sorted(capfd.readouterr().out.split()) == ["err", "err", "out", "out"]


def test_a_child_that_is_killed(tmp_path) -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    status = pipeline_process.run_command(command(script), tmp_path / "a.log", lambda: None)
    assert status == -signal.SIGKILL


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_child_and_is_told(tmp_path, signum) -> None:
    pid, log = tmp_path / "pid", tmp_path / "a.log"

    def stop() -> None:
        wait_for(lambda: content(pid))
        os.kill(os.getpid(), signum)

    before = signal.getsignal(signum)
    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(pipeline_process.Interrupted) as caught:
        pipeline_process.run_command(command(STOPS, pid, int(signum)), log, lambda: None)
    thread.join()
    assert caught.value.signum == signum
    assert log.read_text() == "bye\n"
    assert not alive(int(pid.read_text()))
    assert signal.getsignal(signum) == before


def test_a_child_that_does_not_listen_is_killed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pipeline_process, "PATIENCE", 0.2)
    pid = tmp_path / "pid"
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPS

    def stop() -> None:
        wait_for(lambda: content(pid))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(pipeline_process.Interrupted):
        pipeline_process.run_command(command(script, pid), tmp_path / "a.log", lambda: None)
    thread.join()
    assert not alive(int(pid.read_text()))


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT])
def test_what_is_ignored_stays_ignored(tmp_path, signum) -> None:
    """SIGHUP under nohup, SIGINT of what a script starts in the background."""
    pid, go = tmp_path / "pid", tmp_path / "go"
    script = WRITES_PID + "while not os.path.exists(sys.argv[2]): time.sleep(0.02)"

    def signal_and_go() -> None:
        wait_for(lambda: content(pid))
        os.kill(os.getpid(), signum)
        go.touch()

    before = signal.signal(signum, signal.SIG_IGN)
    thread = threading.Thread(target=signal_and_go)
    thread.start()
    try:
        line = command(script, pid, go)
        assert pipeline_process.run_command(line, tmp_path / "a.log", lambda: None) == 0
        assert signal.getsignal(signum) == signal.SIG_IGN
    except pipeline_process.Interrupted:  # as a KeyboardInterrupt it would end pytest
        pytest.fail("it was not ignored")
    finally:
        thread.join()
        signal.signal(signum, before)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that cannot be written")
def test_a_log_that_cannot_be_written_stops_nothing(capfd) -> None:
    # More than a pipe holds: who does not read makes it wait, here until the alarm.
    script = "import signal\nsignal.alarm(60)\nfor _ in range(5000): print('x' * 99, flush=True)"
    log = Path("/dev/full")
    assert pipeline_process.run_command(command(script), log, lambda: None) == 0
    out, err = capfd.readouterr()
    assert len(out) == 5000 * 100
    assert (
        err == "warning: cannot write '/dev/full': No space left on device; the command continues\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_a_child_does_not_outlive_a_killed_parent(tmp_path) -> None:
    pid = tmp_path / "pid"
    parent = (
        "import sys; from pathlib import Path; from cfs.pipeline import process as p\n"
        "p.run_command(sys.argv[2:], Path(sys.argv[1]), lambda: None)"
    )
    line = [sys.executable, "-c", parent, str(tmp_path / "a.log"), *command(SLEEPS, pid)]
    killed_with_parent(line, pid)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_scoring_does_not_outlive_a_killed_torchrun(tmp_path) -> None:
    """Each worker of torchrun has a session of its own; it would keep its lock."""
    pid, worker = tmp_path / "pid", tmp_path / "worker.py"
    tool = str(TOOLS / "cfs_scores.py")
    worker.write_text(
        "import os, runpy, sys, time, types\npid = sys.argv[1]\n"
        "def main(words):\n"
        "    open(pid, 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
        "score = types.ModuleType('reid_commands.scores.score')\nscore.main = main\n"
        "sys.modules[score.__name__] = score\n"
        f"sys.argv = [{tool!r}, 'score']\nrunpy.run_path({tool!r}, run_name='__main__')\n"
    )
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1"]
    killed_with_parent([*line, str(worker), str(pid)], pid)


def killed_with_parent(line: list[str], pid: Path) -> None:
    """Start a command, wait for its child's id in a file, kill it; its child is to end, too."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TOOLS), *sys.path])}
    process = subprocess.Popen(line, env=environment)
    try:
        wait_for(lambda: content(pid))
        assert alive(int(pid.read_text()))
    finally:
        process.kill()
        process.wait()
    try:
        wait_for(lambda: not alive(int(pid.read_text())))
    except AssertionError:
        os.kill(int(pid.read_text()), signal.SIGKILL)
        raise
