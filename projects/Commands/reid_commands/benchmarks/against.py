"""Steps of this checkout and of another one, in turns, each in a process of its own."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from reid_common.errors import UserError

from .harness import Row, Sample, alternate

ROOT = Path(__file__).parents[4]
CHILD = Path(__file__).with_name("step_child.py")
THIS = "this checkout"


class Child:
    """Makes steps with the packages of a checkout, when it is called.

    Args:
        checkout: its folder.
        case: a :class:`.step_child.Case`, whose config is a path in the checkout.
    """

    def __init__(self, checkout: Path, case: Mapping[str, Any]) -> None:
        self.checkout = checkout
        packages = sorted(str(folder) for folder in (checkout / "projects").glob("*/"))
        run = f"import runpy; runpy.run_path({str(CHILD)!r}, run_name='__main__')"
        self.process = subprocess.Popen(
            [sys.executable, "-c", run],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(packages)},
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask({**case, "config": str(checkout / case["config"])})

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def __call__(self) -> Sample:
        """One step."""
        return self._ask("step")

    def _ask(self, question: Any) -> Any:
        stdin: Any = self.process.stdin
        stdout: Any = self.process.stdout
        with contextlib.suppress(BrokenPipeError):  # it has ended: there is no answer either
            print(json.dumps(question), file=stdin, flush=True)
        answer = stdout.readline()
        if not answer:
            code = self.process.wait()
            raise UserError(
                f"the step of {str(self.checkout)!r} ended with exit code {code}, see above; does "
                "that checkout have these projects and configs?"
            )
        return json.loads(answer)


def rows_against(
    args: argparse.Namespace, case: Mapping[str, Any], other: str, rounds: int
) -> Iterator[Row]:
    """Rows of the table: the other checkout, to which ratios refer, and this one.

    Args:
        args: of the benchmark; ``batch`` are the images of a step.
        case: see :class:`Child`, without its batch.
        other: folder of the other checkout.
        rounds: steps of each that are timed.
    """
    folder = Path(other).resolve()
    if not (folder / case["config"]).is_file():
        raise UserError(
            f"--against {other!r} is no checkout of this repository: it has no {case['config']}; "
            "make one with git worktree add FOLDER COMMIT"
        )
    with ExitStack() as stack:
        contenders = {
            name: stack.enter_context(Child(place, {**case, "batch": args.batch}))
            for name, place in ((other, folder), (THIS, ROOT))
        }
        yield from alternate(contenders, rounds).rows(images=args.batch)
