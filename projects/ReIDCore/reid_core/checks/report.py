"""What a check of data sets found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reid_common.files import write_json
from tabulate import tabulate

from .image_facts import look_at_all
from .parts import Part, summary
from .problems import MIN_SIZE, Problem, find_problems


def check_parts(
    parts: Sequence[Part],
    min_size: int = MIN_SIZE,
    show: int = 5,
    json_file: Path | None = None,
    num_workers: int | None = None,
) -> list[Problem]:
    """Check data sets, print what was found, and return it.

    ``show`` lines of each kind of problem are printed; ``json_file`` receives everything.

    Raises:
        UserError: ``json_file`` cannot be written.
    """
    paths = [entry.path for part in parts for entry in part.entries]
    facts = look_at_all(paths, num_workers, progress=True)
    rows, problems = list(summary(parts, facts)), find_problems(parts, facts, min_size)
    print(report(rows, problems, show))
    if json_file:
        write_json(json_file, {"parts": rows, "problems": [asdict(p) for p in problems]})
    return problems


def report(rows: list[dict[str, Any]], problems: list[Problem], show: int) -> str:
    """Text of what was found: a table of the parts, then each kind with its first lines."""
    lines = [tabulate(rows, headers="keys", tablefmt="github"), ""]
    for problem in problems:
        lines.append(f"{problem.kind}: {len(problem.found)} {problem.meaning}")
        lines += [f"    {line}" for line in problem.found[:show]]
        if len(problem.found) > show:
            lines.append(f"    and {len(problem.found) - show} more")
    return "\n".join(lines if problems else [*lines, "nothing found"])
