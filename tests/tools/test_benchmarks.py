"""Benchmarks: their command lines, and what they share, with clocks that a test sets."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import operator
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from reid_commands.benchmarks import gpu_step, harness, processes
from reid_commands.benchmarks.gpu_works import Work
from reid_commands.benchmarks.harness import CPU, PEAK, WALL, Comparison
from reid_common.errors import UserError

SCRIPTS = sorted((Path(__file__).parents[2] / "tools" / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_shows_its_options(script, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert f"usage: {script.name}" in capsys.readouterr().out


def test_scripts_are_thin() -> None:
    assert len(SCRIPTS) == 14
    for script in SCRIPTS:
        assert len(script.read_text().splitlines()) <= 80, script.name


def counting(step: float) -> Callable[[], float]:
    """A clock that moves on by a step each time it is read."""
    readings = itertools.count(0, step)
    return lambda: next(readings)


def test_a_call_is_timed_by_both_clocks() -> None:
    calls: list[int] = []
    sample = harness.timed(lambda: calls.append(1), wall=counting(2.0), cpu=counting(0.5))()
    assert sample == {WALL: 2.0, CPU: 0.5}
    assert len(calls) == 1


def test_a_short_call_is_repeated_and_its_median_counts() -> None:
    # Wall readings in pairs: calls of 1, 3 and 2 seconds; 6 seconds in all end it, 4 would not.
    readings = iter([0, 1, 1, 4, 4, 6])
    calls: list[int] = []
    sample = harness.timed(lambda: calls.append(1), 5.0, lambda: next(readings), lambda: 0.0)()
    assert sample[WALL] == 2
    assert len(calls) == 3


def test_contenders_take_turns() -> None:
    order: list[str] = []

    def contender(name: str):
        return lambda: order.append(name) or {WALL: 1.0}

    contenders = {name: contender(name) for name in ("slow", "a", "b")}
    comparison = harness.alternate(contenders, 3, once=["slow"])
    assert order == ["slow", "a", "b", "a", "b", "a", "b"]
    assert [len(samples) for samples in comparison.samples.values()] == [1, 3, 3]
    assert comparison.baseline == "slow"


def test_no_rounds_are_refused() -> None:
    with pytest.raises(UserError, match=r"0 rounds.*at least 1"):
        harness.alternate({"a": dict}, 0)


@pytest.fixture
def comparison() -> Comparison:
    """Medians: baseline 6 s, ours 2 s; round by round 4/2, 6/3 and 9/1."""
    seconds = {"baseline": (4.0, 6.0, 9.0), "ours": (2.0, 3.0, 1.0)}
    samples = {name: [{WALL: s, PEAK: s} for s in some] for name, some in seconds.items()}
    return Comparison(samples, "baseline")


def test_ratios_are_those_of_medians(comparison) -> None:
    assert comparison.ratio("baseline") == 1.0
    assert comparison.ratio("ours") == 3.0
    assert comparison.ratios("ours") == [2.0, 2.0, 9.0]


def test_a_baseline_that_ran_once_counts_for_all_rounds() -> None:
    samples = {"once": [{WALL: 8.0}], "ours": [{WALL: 2.0}, {WALL: 4.0}]}
    assert Comparison(samples, "once").ratios("ours") == [4.0, 2.0]
    assert Comparison(samples, "ours").ratios("once") == [0.25]


def test_rows_of_the_table(comparison) -> None:
    rows = list(comparison.rows(images=8))
    assert rows[1] == {
        "contender": "ours",
        WALL: 2.0,
        PEAK: 3.0,  # the highest, not the median
        "images/s": 4.0,
        "ratio of seconds": 3.0,
        "round by round": "2.00-9.00",
    }


def test_the_baseline_and_what_is_compared_can_be_named() -> None:
    samples = {"a": {WALL: 1.0, CPU: 3.0}, "b": {WALL: 1.0, CPU: 6.0}}
    contenders = {name: lambda name=name: samples[name] for name in samples}
    comparison = harness.alternate(contenders, 1, baseline="b", key=CPU)
    assert (comparison.ratio("a"), comparison.ratio("b")) == (2.0, 1.0)


def test_the_table_is_markdown(capsys) -> None:
    harness.print_table([{"name": "a", "n": 4180243, "x": 1.5}, {"name": "b", "n": 1, "x": 123.4}])
    assert capsys.readouterr().out.splitlines() == [
        "| name | n | x |",
        "|---|---|---|",
        "| a | 4,180,243 | 1.50 |",
        "| b | 1 | 123 |",
    ]
    harness.print_table([{"a": 1, "b": 2}, {"a": 3, "c": 4}])  # other columns: another table
    assert capsys.readouterr().out.count("\n\n| a | c |\n|---|---|\n| 3 | 4 |\n") == 1


def test_a_declaration_becomes_a_command_line_and_a_table(capsys) -> None:
    def measure(model: str, stride: int, args: argparse.Namespace) -> list[dict[str, float]]:
        return [{"batch": args.batch, "size": sum(args.size), "fast": int(args.go_fast)}]

    main, parser = harness.benchmark(
        "What it measures.",
        measure,
        each={"models": "model", "strides": "stride"},
        models={"S": 1, "B": 2},
        strides=[16, 12],
        size=(2, 1),
        batch=8,
        go_fast=False,
        device="",
        options=[],
    )
    assert main(["--models", "B", "--batch", "4", "--go-fast", "--options", "A.B", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "| model | stride | batch | size | fast |",
        "|---|---|---|---|---|",
        "| B | 16 | 4 | 3 | 1 |",
        "| B | 12 | 4 | 3 | 1 |",
    ]
    args = vars(parser().parse_args([]))
    assert (args["models"], args["options"], args["device"]) == (["S", "B"], [], "")
    for wrong in (["--models", "L"], ["--size", "1"], ["--batch", "x"]):
        with pytest.raises(SystemExit):
            parser().parse_args(wrong)


def test_implementations_must_agree() -> None:
    harness.check_agreement({"a": {"loss": 10.0}, "b": {"loss": 10.05}}, 1e-2)
    with pytest.raises(RuntimeError, match=r"disagree: loss of 'a' is 10\.0, of 'b' 10\.5"):
        harness.check_agreement({"a": {"loss": 10.0}, "b": {"loss": 10.5}}, 1e-2)
    with pytest.raises(RuntimeError, match="disagree"):
        harness.check_agreement({"a": {"loss": 10.0}, "b": {"loss": float("nan")}}, 1e-2)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_function_runs_in_a_process_of_its_own(method) -> None:
    assert processes.in_child(operator.add, 1, 2, method=method) == 3
    assert processes.in_child(os.getpid, method=method) != os.getpid()


def test_workers_of_a_child_start_as_those_of_its_parent() -> None:
    # get_start_method is bound to a context, which would be pickled with it
    found = processes.in_child(eval, "__import__('multiprocessing').get_start_method()")
    assert found == multiprocessing.get_start_method()


def test_a_child_that_dies_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ended with exit code 3"):
        processes.in_child(os._exit, 3, method="fork")


def test_contenders_in_children() -> None:
    contenders = processes.in_children(operator.add, {"three": (1, 2), "five": (2, 3)}, "fork")
    assert {name: contender() for name, contender in contenders.items()} == {"three": 3, "five": 5}


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_memory_of_a_process() -> None:
    assert 0 < processes.memory(processes.USS) <= processes.memory(processes.RSS)
    assert processes.memory(processes.HIGHEST) > 0


def test_a_step_is_timed_and_its_waits_are_counted() -> None:
    """Of a product of (8, 4) and (4, 4): 2 * 8 * 4 * 4 operations, and one wait."""
    x = torch.ones(8, 4)
    work = Work("sum", "eager", 8, lambda: lambda: (x @ x[:4]).sum().item())
    row = gpu_step.measured(work, 2, 1.0)
    assert row["waits"] == 1 and row["operators"] == 4  # slice, mm, sum, item
    seconds = 8 / float(row["images/s"])
    assert float(row["share of peak"]) == pytest.approx(256 / seconds)
    compiled = gpu_step.measured(Work("sum", "compiled", 8, lambda: lambda: None), 1, 1.0)
    assert compiled["waits"] == compiled["operators"] == "-"
