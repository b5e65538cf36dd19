"""What filters did: counted by reason, with examples, and every dropped image in a table."""

from __future__ import annotations

import contextlib
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reid_common.files import replacing
from tabulate import tabulate

EXAMPLES = 3
DROPPED, SUMMARY = "filters_dropped.csv", "filters_summary"
HEADER = ("image", "filter", "reason", "detail")
Write = Callable[[tuple[str, ...]], Any]


class FilterReport:
    """Counts what one filter, of these options, drops.

    ``write`` is called with a row (image, filter, reason, detail) of each dropped image.
    """

    def __init__(self, name: str, options: Mapping[str, Any], write: Write) -> None:
        self.name, self.options, self.write = name, dict(options), write
        self.dropped: Counter[str] = Counter()
        self.examples: dict[str, list[dict[str, str]]] = {}
        self.num_images = self.num_kept = 0

    def drop(self, image: str, reason: str, detail: str = "") -> None:
        """Count an image that is dropped."""
        self.dropped[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append({"image": image, "detail": detail})
        self.write((image, self.name, reason, detail))

    def as_dict(self) -> dict[str, Any]:
        """For the summary."""
        reasons = [
            {"reason": reason, "images": count, "examples": self.examples[reason]}
            for reason, count in self.dropped.most_common()
        ]
        return {
            "filter": self.name,
            "options": self.options,
            "images": self.num_images,
            "kept": self.num_kept,
            "dropped": reasons,
        }


@contextlib.contextmanager
def dropped_file(folder: str) -> Iterator[Write]:
    """Write ``filters_dropped.csv``; it appears when the block is left without an exception."""
    with (
        replacing(Path(folder) / DROPPED) as path,
        open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(HEADER)
        yield writer.writerow


def write_summary(folder: str, summary: Mapping[str, Any]) -> None:
    """Write ``filters_summary.json`` and ``.md`` into a folder.

    ``summary`` has "images", "kept", "filters" (:meth:`FilterReport.as_dict`), "examples_kept".
    """
    for suffix, text in ((".json", json.dumps(summary, indent=2)), (".md", _as_markdown(summary))):
        with replacing(Path(folder) / (SUMMARY + suffix)) as path:
            path.write_text(text + "\n", encoding="utf-8", errors="surrogateescape")


def _as_markdown(summary: Mapping[str, Any]) -> str:
    """The summary as a page: a table, and examples of each reason."""
    lines = [
        "# Data filters",
        "",
        f"{summary['kept']:,} of {summary['images']:,} images are kept; {DROPPED} names the rest.",
        "",
        reason_table(summary["filters"]),
        "",
        "## Examples",
        "",
    ]
    for one in summary["filters"]:
        for reason in one["dropped"]:
            lines += [f"{one['filter']}, {reason['reason']}:", ""]
            lines += [
                f"- `{example['image']}`" + (f" ({example['detail']})" if example["detail"] else "")
                for example in reason["examples"]
            ]
            lines.append("")
    lines += ["Kept:", "", *(f"- `{image}`" for image in summary["examples_kept"])]
    return "\n".join(lines)


def reason_table(filters: Sequence[Mapping[str, Any]]) -> str:
    """Table of what each filter got, dropped by reason, and kept."""
    rows = []
    for one in filters:
        rows.append((one["filter"], f"{one['images']:,}", "", "", f"{one['kept']:,}"))
        rows += [("", "", x["reason"], f"{x['images']:,}", "") for x in one["dropped"]]
    headers = ("filter", "images", "dropped for", "dropped", "kept")
    return tabulate(rows, headers, "pipe", disable_numparse=True)
