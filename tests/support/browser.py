"""A real browser without a window: what a page has become in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Runs when all is loaded; what it finds is written into the page, which --dump-dom prints.
PROBE = """<script>
const colours = (image) => {  // how many of its pixels' values differ: it was decoded
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(pixels.buffer)).size;
};
addEventListener("load", () => {
  const images = [...document.images].filter((image) => image.naturalWidth);
  const found = {
    tables: [...document.querySelectorAll("table")].map((table) => table.caption.innerText),
    cells: [...document.querySelectorAll("th, td")].map((cell) => cell.innerText),
    images: images.map((image) => (
      {width: image.naturalWidth, alt: image.alt, colours: colours(image)})),
    resources: performance.getEntriesByType("resource").map((entry) => entry.name),
    code: [...document.querySelectorAll("pre")].map((pre) => pre.textContent),
    width: document.documentElement.scrollWidth, window: innerWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    ground: getComputedStyle(document.body).backgroundColor, injected: Boolean(window.injected),
  };
  const out = document.createElement("output");
  out.id = "found"; out.textContent = JSON.stringify(found); document.body.append(out);
});</script>"""


def browser() -> str:
    """Path of Chromium; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser ({', '.join(NAMES)}): apt-get install chromium")
    return found


def look(page: Path, folder: Path, *options: str) -> dict[str, Any]:
    """Open a copy of a page, which may load what it likes but finds no network.

    Args:
        page: HTML file.
        folder: for the copy and the browser's profile.
        *options: of the browser.

    Returns:
        What :data:`PROBE` found.
    """
    program = browser()
    text = page.read_text(encoding="utf-8")
    # The page forbids itself scripts and everything from elsewhere. The copy is let: it is to show
    # that nothing is asked for.
    allowed, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert count == 1
    copy = folder / "copy.html"
    copy.write_text(allowed.replace("</head>", f"{PROBE}</head>", 1), encoding="utf-8")
    command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={folder / 'profile'}", "--proxy-server=127.0.0.1:1"]
    command += ["--no-first-run", "--disable-dev-shm-usage", "--virtual-time-budget=20000"]
    done = subprocess.run(
        [*command, *options, copy.as_uri()],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    match = re.search(r'<output id="found">(.*?)</output>', done.stdout, re.DOTALL)
    assert match, f"the page has not loaded: {done.stderr[-2000:]}"
    return json.loads(unescape(match[1]))
