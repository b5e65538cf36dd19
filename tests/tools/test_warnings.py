"""Warnings of the packages reach a user of the tools, on stderr."""

from __future__ import annotations

import logging

import pytest
from reid_commands import convert_weights, export, extract, search
from reid_commands.visualize import sie
from reid_common.errors import UserError
from reid_core.run.command_line import forget_loggers


@pytest.mark.parametrize(
    ("tool", "step", "words"),
    [
        (extract, "list_images", ["photos", "-o", "f.npz"]),
        (search, "load_sides", ["a.npz", "b.npz", "-o", "out"]),
        (export, "export_trained", ["-o", "m.onnx", "--config-file", "c.yml"]),
        (sie, "build_extractor", ["-o", "s.png", "--config-file", "c.yml"]),
        (convert_weights, "convert", ["w.pth", "-o", "o.pth", "--config-file", "c.yml"]),
    ],
)
def test_warnings_of_the_package_reach_stderr(capsys, monkeypatch, tool, step, words) -> None:
    def warns(*_: object, **__: object) -> None:
        logging.getLogger("transreid.weights.checkpoint").warning("half of it is missing")
        raise UserError("far enough")

    forget_loggers()
    monkeypatch.setattr(logging.getLogger("transreid"), "propagate", True)
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's; a tool has none
    monkeypatch.setattr(logging, "lastResort", None)
    monkeypatch.setattr(tool, step, warns)
    with pytest.raises(SystemExit):
        tool.main(words)
    said = capsys.readouterr()
    assert said.err.splitlines() == ["half of it is missing", "error: far enough"]
    assert said.out == ""
