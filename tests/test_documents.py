"""READMEs name commands, files and links that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("projects/*/README.md")),
]


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), f"{target} in {document.name}"
        if anchor:
            assert anchor in anchors(file.read_text()), f"{target} in {document.name}"


def commands() -> list[str]:
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [" ".join(shlex.split(line, comments=True)) for line in lines]
    return [line for line in dict.fromkeys(found) if line]


@pytest.mark.parametrize("command", commands())
def test_commands_name_what_exists(command: str) -> None:
    words = command.split()
    for word in words:
        if re.fullmatch(r"(tools|projects|tests)/\S+", word):
            assert (ROOT / word).exists(), word
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        assert set(named) <= set(targets), command


def test_every_package_is_importable() -> None:
    """What setup.py maps is what a user can import."""
    import importlib

    text = (ROOT / "setup.py").read_text()
    packages = re.findall(r'^    "(\w+)": "projects/', text, re.MULTILINE)
    assert {"fastreid_compat", "transreid"} <= set(packages)
    for package in packages:
        importlib.import_module(package)


def test_nothing_is_left_open_in_the_documents() -> None:
    for document in DOCUMENTS:
        assert "@@" not in document.read_text(), document
