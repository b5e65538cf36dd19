"""READMEs and pages name commands, keys, imports, tests and files that exist, and are short."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
from pathlib import Path
from string import Template

import pytest
from cfs.pipeline.config import load_config as load_pipeline
from fastreid_compat.repairs.config.settings import full_keys
from reid_commands.__main__ import COMMANDS
from reid_core.config import load_config
from reid_core.run.command_line import parse_command

ROOT = Path(__file__).parents[1]
READMES = [
    ROOT / "README.md",
    ROOT / "docs" / "README.md",
    *sorted(ROOT.glob("projects/*/README.md")),
]
PAGES = [page for page in sorted(ROOT.glob("docs/**/*.md")) if page not in READMES]
DOCUMENTS = [*READMES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
MAX_WORDS = 900
SECTIONS = "CLUSTER DATALOADER DATASETS DINO IBOT INPUT MOCO MODEL SOLVER TEST"
KEY = rf"(?:{SECTIONS.replace(' ', '|')})(?:\.[A-Z0-9_]+)+"


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(document: Path, language: str) -> list[str]:
    """Code blocks of a language, without the fences."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
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


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / name).resolve() for name in re.findall(r"\]\(([^)#\s]+)", index.read_text())
    }
    assert {page.resolve() for page in PAGES} <= linked
    assert set(READMES) - {ROOT / "README.md", index} <= linked


@pytest.mark.parametrize("document", READMES, ids=ids)
def test_a_readme_is_read_to_its_end(document: Path) -> None:
    assert len(document.read_text().split()) <= MAX_WORDS


def command_words() -> list[list[str]]:
    """Words of every command, with the variables that its block has set."""
    found = []
    for document in DOCUMENTS:
        for block in blocks(document, "sh"):
            variables: dict[str, str] = {}
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                words = [Template(word).safe_substitute(variables) for word in words]
                if len(words) == 1 and re.match(r"\w+=", words[0]):
                    variables.update([words[0].split("=", 1)])
                elif words and words not in found:
                    found.append(words)
    return found


def commands() -> list[str]:
    return [" ".join(words) for words in command_words()]


def understood(words: list[str]) -> argparse.Namespace:
    """What the parser of a tool makes of the words of a command, the tool first."""
    source = (ROOT / words[0]).read_text()
    (name,) = re.findall(r"^from (reid_commands[\w.]*) import main$", source, re.MULTILINE)
    module, words = importlib.import_module(name), words[1:]
    if hasattr(module, "COMMANDS"):
        subcommand = module.COMMANDS[words[0]][0]
        module, words = importlib.import_module(f"reid_commands.{subcommand}"), words[1:]
    parser = module.parser()
    if not any(action.dest == "opts" for action in parser._actions):
        return parser.parse_args(words)
    return parse_command(parser, words, getattr(module, "default_config", lambda: None)())


TOOLS = r"(?!tools/benchmarks/)tools/\w+\.py"
CALLS = [
    words[index:]
    for words in command_words()
    for index, word in enumerate(words)
    if re.fullmatch(TOOLS, word)
]


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_commands_are_understood_and_their_configs_load(words: list[str]) -> None:
    args = understood(words)
    if words[0] == "tools/train_net.py":
        load_config(args.config_file, args.opts)
    if words[0] == "tools/conditional_pretrain.py":
        load_pipeline(args.config_file, args.opts)
        of_stages = [re.fullmatch(rf"[A-Z]+\.({KEY})", word) for word in args.opts]
        assert {match[1] for match in of_stages if match} <= set(full_keys(load_config()))


def test_console_commands_exist() -> None:
    for document in DOCUMENTS:
        for named in re.findall(r"`transreid ([a-z][a-z -]*)`", document.read_text()):
            assert named.split()[0] in COMMANDS, f"{named} in {document.name}"
    listed = (ROOT / "projects" / "Commands" / "README.md").read_text()
    assert all(f"`{command}`" in listed for command in COMMANDS)


@pytest.mark.parametrize("command", commands())
def test_commands_name_what_exists(command: str) -> None:
    words = command.split()
    for word in words:
        path = re.sub(r"^\w+=", "", word)
        if re.fullmatch(r"(tools|projects|tests|examples)/\S+", path):
            assert (ROOT / path).exists(), word
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        assert set(named) <= set(targets), command


def test_options_of_benchmarks_exist() -> None:
    calls = [
        words[index:]
        for words in command_words()
        for index, word in enumerate(words)
        if word.startswith("tools/benchmarks/")
    ]
    assert len({words[0] for words in calls}) == 14
    for words in calls:
        understood(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_keys_exist(document: Path) -> None:
    text = document.read_text()
    named = re.findall(rf"`({KEY})", text)
    for block in blocks(document, "sh"):
        named += re.findall(rf"(?<![\w.])({KEY})(?= )", block)
    assert set(named) <= set(full_keys(load_config()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_imports_exist(document: Path) -> None:
    for block in blocks(document, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_tests_that_are_named_exist(document: Path) -> None:
    file = None
    for name, test in re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", document.read_text()):
        if name:
            file = ROOT / name
            assert file.exists(), name
        if test:
            assert file is not None and f"def {test}(" in file.read_text(), test


def test_every_package_is_importable() -> None:
    """What setup.py maps is what a user can import."""
    text = (ROOT / "setup.py").read_text()
    packages = re.findall(r'^    "(\w+)": "projects/', text, re.MULTILINE)
    assert {"fastreid_compat", "transreid"} <= set(packages)
    for package in packages:
        importlib.import_module(package)


def test_every_package_has_a_readme() -> None:
    folders = re.findall(r'": "(projects/\w+)/\w+"', (ROOT / "setup.py").read_text())
    assert {ROOT / folder / "README.md" for folder in folders} <= set(READMES)


def test_nothing_is_left_open_in_the_documents() -> None:
    for document in DOCUMENTS:
        assert "@@" not in document.read_text(), document
