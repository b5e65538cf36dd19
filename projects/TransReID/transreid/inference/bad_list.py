"""Images that an extraction leaves out: listed beside the feature file, and counted."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from reid_common.errors import UserError
from reid_common.files import replacing
from reid_common.left_out import check_left_out, counted

BAD_COLUMNS = ("image", "reason")


def bad_list(out: Path) -> Path:
    """Where the images that could not be read are listed: columns image and reason."""
    return out.with_name(f"{out.name}.bad.csv")


def write_bad_list(out: Path, bad: Sequence[tuple[str, str]]) -> None:
    """Write the list of a feature file ``out``, (path, reason) each, or remove an earlier one."""
    path = bad_list(out)
    if not bad:
        path.unlink(missing_ok=True)  # of an earlier call
        return
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([BAD_COLUMNS, *bad])


def check_enough(count: int, bad: Sequence[tuple[str, str]], out: Path, max_bad: float) -> None:
    """Check that no more than the share ``max_bad`` of ``count`` images is in the list of ``out``.

    Raises:
        UserError: more are, or all; with the reasons counted.
    """
    reasons = Counter(reason for _, reason in bad)
    if len(bad) == count:
        see = f"see {bad_list(out)}. Reasons: {counted(reasons)}"
        raise UserError(f"none of the {count} images can be read; {see}")
    remedy = f"{bad_list(out)} names them; --max-bad allows a greater share"
    check_left_out(count, reasons, "images", max_bad, remedy)
