"""All command lines: one form of arguments, tools and subcommands are the same functions."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from reid_commands import train
from reid_commands.__main__ import COMMANDS, main
from reid_commands.scores import COMMANDS as OF_SCORES
from reid_commands.visualize import COMMANDS as OF_VISUALIZE
from reid_common.errors import UserError
from reid_core.run.command_line import (
    add_config_arguments,
    command_parser,
    parse_command,
    split_pairs,
)

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml")
# Subcommand of transreid -> tool
TOOLS = {
    "train": "train_net",
    "evaluate": "evaluate",
    "extract": "extract_features",
    "search": "search",
    "calibrate": "calibrate",
    "publish": "publish",
    "export": "export_onnx",
    "quantize": "quantize",
    "visualize": "visualize",
    "check-data": "check_dataset",
    "pretrain": "conditional_pretrain",
    "report": "pipeline_report",
    "convert": "convert_weights",
    "convert-dino": "convert_dino",
    "config-reference": "config_reference",
    "draw-toyreid": "draw_toyreid",
}
STUDIES = (
    "ablation",
    "cfs",
    "cfs_truth",
    "compare_models",
    "demo",
    "dino",
    "ssl",
    "unknown_cameras",
)
MODULES = sorted(
    {module for group in (COMMANDS, OF_SCORES, OF_VISUALIZE) for module, _ in group.values()}
    - {"visualize"}
    | {f"studies.{name}" for name in STUDIES}
)


def module_of(name: str):
    return importlib.import_module(f"reid_commands.{name}")


def tool(name: str):
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / f"tools/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("command", "name"), TOOLS.items())
def test_a_subcommand_is_the_same_function_as_its_tool(command: str, name: str) -> None:
    assert module_of(COMMANDS[command][0]).main is tool(name).main


def test_every_subcommand_has_a_tool() -> None:
    """Those of scores share one: cfs_scores.py."""
    assert set(COMMANDS) == {*TOOLS, *OF_SCORES}
    assert all(COMMANDS[name][0] == module for name, (module, _) in OF_SCORES.items())
    assert tool("cfs_scores").main is module_of("scores").main


@pytest.mark.parametrize("name", MODULES)
def test_help_stands_alone_in_one_screen(name: str, capsys) -> None:
    module = module_of(name)
    with pytest.raises(SystemExit) as end:
        module.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "\ntransreid " in text or "\npython tools/" in text, "no example"
    assert len(text.splitlines()) <= 60
    parser = module.parser()
    assert isinstance(parser, argparse.ArgumentParser)
    options = parser._option_string_actions
    assert ("-o" in options) == ("--out" in options)


def test_the_help_of_all_commands_needs_no_torch() -> None:
    code = (
        "import sys\nfrom reid_commands.__main__ import main\n"
        "try:\n    main(['--help'])\nfinally:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "transreid train --config-file" in done.stdout, "no example"
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert len(done.stdout.splitlines()) <= 40


SLOW = ("sklearn", "scipy.stats", "torchvision", "torch._dynamo", "timm", "matplotlib")
REFUSED = {
    "SOLVER.BASE_LR": ("-0.1", "SOLVER.BASE_LR is -0.1; write a number above 0"),
    "MODEL.JPM.SHIFT_NUM": (
        "999",
        "MODEL.JPM.SHIFT_NUM is 999, but an image has 10 x 5 = 50 patches; write a number up to"
        " that",
    ),
}


@pytest.mark.parametrize("key", [*REFUSED, "--help"])
def test_an_answer_waits_for_no_slow_import(key: str) -> None:
    """A refused config, the help: what takes seconds to import is imported by a run alone."""
    value, message = REFUSED.get(key, ("", ""))
    words = ["--config-file", CONFIG, key, value] if value else [key]
    status = 2 if value else 0
    code = f"""
import sys
from reid_commands.train import main
try:
    main({words!r})
except SystemExit as end:
    assert end.code == {status}, end.code
print("slow:", *sorted(set({SLOW!r}) & set(sys.modules)))
if {value!r}: sys.exit()  # once is enough for the rest
import torchvision.transforms, sklearn.metrics
assert torchvision.transforms.Compose and sklearn.metrics.roc_curve  # the modules themselves
from fastreid.data.transforms import build
from fastreid.evaluation import reid_evaluation
assert build.T.Compose is torchvision.transforms.Compose
assert reid_evaluation.metrics.roc_curve is sklearn.metrics.roc_curve
assert reid_evaluation.metrics is sklearn.metrics
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "slow:\n" in done.stdout, done.stdout
    assert not value or done.stderr.endswith(f"error: {message}\n")


def test_version_and_unknown_commands(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("transreid ")
    with pytest.raises(SystemExit) as end:
        main(["trian"])
    assert end.value.code == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


def test_a_subcommand_gets_its_words(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["transreid"])
    with pytest.raises(SystemExit) as end:
        main(["select", "--help"])
    assert end.value.code == 0
    assert "usage: transreid select" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "opts", "others"),
    [
        ("SEED 1 --num-gpus 2", "SEED 1", {"num_gpus": 2}),
        ("--num-gpus 2 SOLVER.MAX_EPOCH 3 --resume", "SOLVER.MAX_EPOCH 3", {"resume": True}),
        ("SEED 1 --resume MODEL.DEVICE cpu", "SEED 1 MODEL.DEVICE cpu", {"resume": True}),
        ("SOLVER.BASE_LR -0.1 --eval-only", "SOLVER.BASE_LR -0.1", {"eval_only": True}),
        ("MODEL.PIXEL_MEAN -1 --num-gpus=3", "MODEL.PIXEL_MEAN -1", {"num_gpus": 3}),
        ("OUTPUT_DIR A.B MODEL.DEVICE cpu", "OUTPUT_DIR A.B MODEL.DEVICE cpu", {}),
        ("--opts MODEL.DEVICE cpu --resume", "MODEL.DEVICE cpu", {"resume": True}),
        ("--options seed 1 SEED 2", "seed 1 SEED 2", {}),
        ("base_lr 1 SEED 2 --resume", "base_lr 1 SEED 2", {"resume": True}),
        ("--config-f SOME.YML SEED 1", "SEED 1", {"config_file": "SOME.YML"}),
    ],
)
def test_options_before_and_behind_the_pairs(line: str, opts: str, others: dict) -> None:
    args = parse_command(train.parser(), line.split())
    assert args.opts == opts.split()
    assert {name: getattr(args, name) for name in others} == others


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("SEED", "SEED"),
        ("SEED 1 MODEL.DEVICE", "MODEL.DEVICE"),
        ("SOLVER.BASE_LR --resume", "SOLVER.BASE_LR"),
        ("max_epoch", "max_epoch"),
    ],
)
def test_a_key_without_a_value_is_named(line: str, word: str) -> None:
    with pytest.raises(UserError, match=f"'{word}' has no value: .* pairs of KEY and VALUE"):
        parse_command(train.parser(), line.split())


def test_names_and_lists_before_the_pairs(tmp_path, monkeypatch) -> None:
    """Words in capitals that are a data set, a file or the value of an option are no keys."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "IMG.PNG").touch()
    parser = command_parser("text")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--stages", nargs="+", default=[])
    parser.add_argument("--weights")
    add_config_arguments(parser)
    line = "IMG.PNG MSMT17 --weights A.PTH --stages a B SEED 2 --config-file c.yml KEEP 0.5"
    args = parse_command(parser, line.split(), {"SEED": 1, "KEEP": None})
    assert args.images == ["IMG.PNG", "MSMT17"] and args.stages == ["a", "B"]
    assert (args.weights, args.config_file) == ("A.PTH", "c.yml")
    assert args.opts == ["SEED", "2", "KEEP", "0.5"]
    # A misspelt name of a file is no key, a misspelt key is one: the config says what it has.
    words, pairs = split_pairs(parser, ["IMMG.PNG", "SOLVR.BASE_LR", "-0.1", "DINO.OUT_DIM", "9"])
    assert words == ["IMMG.PNG"] and pairs == ["SOLVR.BASE_LR", "-0.1", "DINO.OUT_DIM", "9"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SOLVER.BASE_LRR", "-0.1"], "no key SOLVER.BASE_LRR; did you mean SOLVER.BASE_LR"),
        (["sead", "1"], "no key sead; did you mean SEED"),
        (["SOLVER.BASE_LR", "-0.1", "--resume"], "SOLVER.BASE_LR is -0.1"),
        (["SEED", "1", "SOLVER.MAX_EPOCH"], "'SOLVER.MAX_EPOCH' has no value"),
    ],
)
def test_bad_pairs_are_one_message(words, message, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        train.main(["--config-file", CONFIG, "OUTPUT_DIR", str(tmp_path), *words])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and "Traceback" not in error
    assert message in error.strip().splitlines()[-1]
