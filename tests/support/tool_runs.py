"""Commands as a user calls them, in this process."""

from __future__ import annotations

from types import ModuleType

import pytest


def run(tool: ModuleType, *words: object) -> int:
    """The exit status of a command's module."""
    return tool.main([str(word) for word in words])


def fails(tool: ModuleType, capsys: pytest.CaptureFixture, *words: object) -> str:
    """What a command that ends with exit status 2 writes to stderr."""
    with pytest.raises(SystemExit) as error:
        run(tool, *words)
    assert error.value.code == 2
    return capsys.readouterr().err
