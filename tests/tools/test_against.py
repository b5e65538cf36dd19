"""Benchmarks against another checkout: both run the same case, in turns, each with its packages."""

from __future__ import annotations

import argparse
from pathlib import Path

import five_steps
import pytest
from reid_commands.benchmarks import against, dino_step, step_child, train_step
from reid_commands.benchmarks.against import Child, rows_against
from reid_commands.benchmarks.models import DINO_CONFIGS, VIT_CONFIG
from reid_common.errors import UserError

ANSWERS = """
import json, os, sys
case = json.loads(sys.stdin.readline())
print("{}", flush=True)
assert os.environ["PYTHONPATH"].startswith(os.getcwd())
for number, _ in enumerate(sys.stdin):
    seconds = case["batch"] * (1.0 if os.path.exists("slow") else 0.5)
    found = {"seconds": seconds, "processor seconds": 0.1, "loss": float(number)}
    print(json.dumps(found), flush=True)
"""


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a checkout, and a child that needs no torch."""
    child = tmp_path / "child.py"
    child.write_text(ANSWERS)
    monkeypatch.setattr(against, "CHILD", child)
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "slow").touch()
    for config in (VIT_CONFIG, DINO_CONFIGS["ViT-S/16"]):
        (folder / config).parent.mkdir(parents=True, exist_ok=True)
        (folder / config).touch()
    return folder


@pytest.mark.parametrize("tool", [train_step, dino_step])
def test_a_table_of_another_checkout_and_this_one(tool, old: Path, capsys) -> None:
    words = ["--against", str(old), "--models", "ViT-S/16", "--batch", "4", "--steps", "3"]
    assert tool.main(words + ["--strides", "16"] * (tool is train_step)) == 0
    theirs, ours = capsys.readouterr().out.splitlines()[-2:]
    assert f"| {old} | 4.00 | 0.100 | 1.00 | 1.00 | 1.00 | 1.00-1.00 |" in theirs
    assert "| this checkout | 2.00 | 0.100 | 1.00 | 2.00 | 2.00 | 2.00-2.00 |" in ours


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    case = {"kind": "dino", "config": "projects/a.yml", "options": []}
    with pytest.raises(UserError, match=r"no checkout .* no projects/a\.yml; .*git worktree"):
        list(rows_against(argparse.Namespace(batch=2), case, str(tmp_path), 1))


def test_a_step_that_fails_is_an_error(old: Path) -> None:
    against.CHILD.write_text("raise SystemExit(3)")
    with pytest.raises(UserError, match=r"ended with exit code 3"):
        Child(old, {"config": "a.yml", "batch": 1})


@pytest.mark.parametrize("kind, keys", [("supervised", "jpm_sie"), ("dino", "")])
def test_the_child_makes_the_trainers_step(kind: str, keys: str) -> None:
    chosen = {**five_steps.SMALL, **(five_steps.CASES[keys] if keys else five_steps.DINO)}
    options = [word for pair in chosen.items() for word in pair]
    case = {"kind": kind, "config": "", "options": options, "batch": 8}
    found = step_child.steps_of(case)()
    assert found["loss"] > 0 and found["seconds"] > 0 and found["processor seconds"] > 0
