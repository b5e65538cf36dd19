"""Modules that are imported when something is first asked of them."""

from __future__ import annotations

import importlib
import sys

import pytest
from reid_common.late_imports import LateModule, importing_late

PACKAGE = "late_package"
CHILD = f"{PACKAGE}.child"


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").write_text("__version__ = '3'\n")
    (tmp_path / PACKAGE / "child.py").write_text("number = 7\n")
    (tmp_path / "holder.py").write_text(
        f"import {PACKAGE}\nimport {CHILD} as child\nfrom {PACKAGE} import child as same\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in (PACKAGE, CHILD, "holder"):  # forgotten again after the test
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    importlib.invalidate_caches()


def test_a_module_is_imported_when_something_is_asked_of_it(package):
    seen = []
    late = LateModule(CHILD, lambda *both: seen.append(both))
    assert late.__name__ == CHILD
    assert CHILD not in sys.modules
    assert late.number == 7
    assert late.number == 7
    assert seen == [(late, sys.modules[CHILD])]
    with pytest.raises(AttributeError, match="nothing"):
        _ = late.nothing


def test_imports_inside_are_late_and_those_after_are_not(package):
    with importing_late((PACKAGE, CHILD)):
        holder = importlib.import_module("holder")
    assert holder.child is holder.same
    assert isinstance(holder.child, LateModule)
    assert not {PACKAGE, CHILD} & sys.modules.keys()
    assert holder.child.number == 7
    assert vars(holder)[PACKAGE].__version__ == "3"
    child = importlib.import_module(CHILD)
    assert not isinstance(child, LateModule)
    assert vars(holder)[PACKAGE].child is child
    assert sys.modules[PACKAGE].child is child


def test_what_is_imported_already_or_not_installed_is_left_alone(package):
    real = importlib.import_module(CHILD)
    with importing_late((PACKAGE, CHILD, "no_such_package")):
        assert importlib.import_module(CHILD) is real
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("no_such_package")
    assert sys.modules[CHILD] is real


def test_an_import_that_fails_leaves_nothing_behind(package):
    with pytest.raises(ZeroDivisionError), importing_late((PACKAGE, CHILD)):
        _ = 1 / 0
    assert not {PACKAGE, CHILD} & sys.modules.keys()
