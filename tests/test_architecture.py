"""Imports go down only, no folder is in a circle, tools import packages, no name hides another."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11; the contracts do not depend on it

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PACKAGES = {
    path.name: path for path in ROOT.glob("projects/*/*") if (path / "__init__.py").exists()
}
TOOLS = sorted((ROOT / "tools").rglob("*.py"))
MODULES = [file for folder in PACKAGES.values() for file in sorted(folder.rglob("*.py"))]
MAX_TOOL, MAX_FILE = 80, 250  # lines


def imported(file: Path) -> set[str]:
    """First names of what a file imports from elsewhere than its own package."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_layers_and_circles() -> None:
    """The contracts of pyproject.toml, which hold a list of layers and that no folders circle."""
    path = [str(folder.parent) for folder in PACKAGES.values()]
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path}; {code}", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_in_the_contracts() -> None:
    assert set(SETTINGS["root_packages"]) == set(PACKAGES)
    for contract in SETTINGS["contracts"]:
        listed = contract.get("layers") or contract["ancestors"]
        assert {name for line in listed for name in line.split(" : ")} == set(PACKAGES)


@pytest.mark.parametrize("file", TOOLS, ids=relative)
def test_a_tool_is_a_command_line(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= MAX_TOOL
    own = {path.stem for path in TOOLS} - set(PACKAGES)
    assert not imported(file) & own, "tools import packages only"


@pytest.mark.parametrize("file", [f for f in MODULES if "reid_commands" in f.parts], ids=relative)
def test_commands_repair_fastreid_before_they_import_it(file: Path) -> None:
    """Packages above ``reid_common`` repair it when they are imported; reid_commands does not."""
    nodes = [
        n for n in ast.parse(file.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    names = [
        (node.module or "." if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[
            0
        ]
        for node in nodes
    ]
    if "fastreid" in names:
        repairing = set(PACKAGES) - {"reid_common", "reid_commands"}
        assert repairing & set(names[: names.index("fastreid")]), "import reid_core first"


def test_no_name_hides_another() -> None:
    """``tools`` comes first on the path of a tool: none is called as a package that is imported."""
    known = set(PACKAGES) | {name for file in MODULES for name in imported(file)}
    assert not {path.stem for path in TOOLS} & known


def test_helpers_know_no_framework() -> None:
    for file in PACKAGES["reid_common"].rglob("*.py"):
        assert "fastreid" not in imported(file), file


@pytest.mark.parametrize("file", MODULES, ids=relative)
def test_files_can_be_read_at_once(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= MAX_FILE
