"""A report as HTML in one file that needs nothing else, and as Markdown: one content, two forms."""

from __future__ import annotations

import base64
import html
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from tabulate import tabulate

TEMPLATE = "report_page.html.jinja"
# What HTML or UTF-8 cannot hold: control characters, and bytes of file names that are no text.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NUMBER = re.compile(r"[-+]?\d[\d,.:%]*")


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Table:
    """A table; the first text of a row names it, and a row has as many as there are headers."""

    kind: ClassVar[str] = "table"
    caption: str
    headers: list[str]
    rows: list[list[str]]

    @property
    def aligned(self) -> list[str]:
        """Of each column "right" if there is a number in it, else "left"."""
        columns = [[row[i] for row in self.rows] for i in range(len(self.headers))]
        numeric = [i > 0 and any(map(_NUMBER.fullmatch, c)) for i, c in enumerate(columns)]
        return ["right" if is_number else "left" for is_number in numeric]


@dataclass(frozen=True)
class Picture:
    """A picture, with a text below it."""

    kind: ClassVar[str] = "picture"
    file: Path  # PNG, in the folder of the report or below it
    alt: str  # what it shows, for who cannot see it
    caption: str

    @property
    def uri(self) -> str:
        """The file's content as a data: address."""
        return "data:image/png;base64," + base64.b64encode(self.file.read_bytes()).decode()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        with Image.open(self.file) as image:
            return image.size


@dataclass(frozen=True)
class Code:
    """Text as it stands, to be copied."""

    kind: ClassVar[str] = "code"
    title: str
    text: str
    folded: bool = False  # shown only when its title is clicked


Block = Text | Table | Picture | Code


@dataclass
class Section:
    """Blocks under a heading."""

    title: str
    blocks: list[Block] = field(default_factory=list)


@dataclass
class Report:
    """All of it."""

    title: str
    lead: list[str]  # paragraphs below the title
    sections: list[Section]


def to_html(report: Report) -> str:
    """One HTML file: pictures and style are in it, it has no script and no link to elsewhere."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return printable(environment.get_template(TEMPLATE).render(report=report))


def to_markdown(report: Report, folder: Path) -> str:
    """Markdown that names the pictures by their path from ``folder``."""
    parts = [f"# {_escaped(report.title)}", *map(_escaped, report.lead)]
    for section in report.sections:
        parts.append(f"## {_escaped(section.title)}")
        parts += [_markdown(block, folder) for block in section.blocks]
    return printable("\n\n".join(parts) + "\n")


def printable(text: str) -> str:
    """Text with a sign in place of every character that a page cannot hold."""
    return _UNPRINTABLE.sub("\ufffd", text)


def _markdown(block: Block, folder: Path) -> str:
    if isinstance(block, Text):
        return _escaped(block.text)
    if isinstance(block, Table):
        rows = [[_escaped(cell) for cell in row] for row in block.rows]
        headers = [_escaped(header) for header in block.headers]
        lines = tabulate(
            rows, headers, "github", disable_numparse=True, colalign=block.aligned if rows else None
        )
        return f"{_escaped(block.caption)}:\n\n{lines}"
    if isinstance(block, Picture):
        path = block.file.relative_to(folder).as_posix()
        return f"![{_escaped(block.alt)}]({path})\n\n{_escaped(block.caption)}"
    longest = max(map(len, re.findall("`+", block.text)), default=0)
    fence = "`" * max(3, longest + 1)
    code = f"{fence}text\n{block.text}\n{fence}"
    if not block.folded:
        return f"{_escaped(block.title)}:\n\n{code}"
    title = html.escape(" ".join(block.title.split()))
    return f"<details><summary>{title}</summary>\n\n{code}\n\n</details>"


def _escaped(text: str) -> str:
    """Text on one line that Markdown shows as it is."""
    text = html.escape(" ".join(text.split()), quote=False)
    text = re.sub(r"([\\`*\[\]|~])", r"\\\1", text)
    # An underscore between letters is one, elsewhere it may begin italics.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
