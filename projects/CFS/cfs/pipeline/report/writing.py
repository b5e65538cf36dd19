"""Report of a pipeline's folder: report.html (one file) and report.md.

It can be written at any time, also when only some stages are done.
"""

from __future__ import annotations

from pathlib import Path

from reid_common.files import replacing
from reid_common.report_pages import to_html, to_markdown

from .content import content

NAMES = ("report.html", "report.md")


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write the report of a pipeline's folder, from what is in it.

    Besides the folder it reads the images of the contact sheets, where available. The
    pictures are also in ``folder/report``.

    Args:
        folder: OUTPUT_DIR of the pipeline.

    Returns:
        report.html and report.md.

    Raises:
        UserError: it is no folder of a pipeline, a file in it is damaged or cannot be written.
    """
    folder = Path(folder)
    report = content(folder)
    files = folder / NAMES[0], folder / NAMES[1]
    for file, text in zip(files, (to_html(report), to_markdown(report, folder)), strict=True):
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return files
