"""The framework of fixes: each is documented, applied once, and listed."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import fastreid
import pytest
from fastreid.engine import DefaultTrainer
from fastreid_compat import FIXES, apply_all
from fastreid_compat.__main__ import main
from fastreid_compat.registry import fix, rebind, repairs, source_has

SOURCE = Path(fastreid.__file__).parent
NAMES = {"__init__", "init"}


@pytest.mark.parametrize("item", FIXES.values(), ids=list(FIXES))
def test_every_fix_is_documented(item):
    for text in (item.where, item.since, item.symptom, item.repair.__doc__):
        assert text
        assert text.strip()
    files = re.findall(r"[\w/]+\.pyx?", item.where)
    assert files or item.where == "wheel metadata"
    folder = (SOURCE / files[0]).parent
    for file in files:
        assert any((place / file).is_file() for place in (SOURCE, folder)), file
    assert isinstance(item.applied, bool)


def snapshot():
    """Every attribute of FastReID's modules and classes, by identity."""
    seen = {}
    for name, module in list(sys.modules.items()):
        if module is None or name.split(".")[0] != "fastreid":
            continue
        for key, value in list(vars(module).items()):
            seen[name, key] = value
            if isinstance(value, type) and value.__module__.startswith("fastreid"):
                seen |= {(name, key, attr): member for attr, member in vars(value).items()}
    return seen


def changes(before):
    after = snapshot()
    return [key for key, value in after.items() if before.get(key) is not value]


def test_applying_twice_changes_nothing():
    before, applied = snapshot(), {name: item.applied for name, item in FIXES.items()}
    assert apply_all() == list(FIXES.values())
    assert {name: item.applied for name, item in FIXES.items()} == applied
    assert changes(before) == []


@pytest.mark.parametrize("item", FIXES.values(), ids=list(FIXES))
def test_a_repaired_defect_is_not_repaired_again(item):
    """Otherwise functions would be wrapped twice, and repaired forks would be broken."""
    before = snapshot()
    assert item.repair() is False
    assert changes(before) == []


def test_two_fixes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two fixes are called 'torch_six'"):

        @fix(where="a.py:1", since="always", symptom="none")
        def torch_six() -> bool:
            return False


def test_rebind_reaches_every_copy(monkeypatch):
    old, new = object(), object()
    for name in ("fastreid.first", "fastreid.second", "fastreidother"):
        module = types.ModuleType(name)
        module.copy = old
        monkeypatch.setitem(sys.modules, name, module)
    rebind(old, new)
    assert sys.modules["fastreid.first"].copy is new
    assert sys.modules["fastreid.second"].copy is new
    assert sys.modules["fastreidother"].copy is old


def test_source_has_needs_all_fragments_and_a_source():
    assert source_has(snapshot, "seen = {}", "return seen")
    assert not source_has(snapshot, "seen = {}", "something" + " else")
    assert not source_has(len, "len")


def test_the_table_lists_every_fix(capsys):
    assert main() == 0
    printed = capsys.readouterr().out
    for item in repairs():
        assert item.name[:26] in printed
    assert f"of {len(repairs())} fixes applied" in printed


def test_without_fastreid_the_message_holds_the_command():
    code = """
        import importlib.machinery

        real = importlib.machinery.PathFinder.find_spec

        def find_spec(name, path=None, target=None):
            return None if name.split(".")[0] == "fastreid" else real(name, path, target)

        importlib.machinery.PathFinder.find_spec = staticmethod(find_spec)
        import fastreid_compat
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "pip install --no-deps fastreid==1.4.0" in done.stderr.replace("\n", " ")
    assert "ModuleNotFoundError" not in done.stderr


def test_trainer_init_is_wrapped_in_this_order():
    """Config first, then memory of the CPU, then the type of AMP, then the scaler's checkpoint."""
    order, function = [], DefaultTrainer.__init__
    while function is not None:
        order.append(Path(function.__code__.co_filename).stem)
        cells = function.__closure__ or ()
        inner = [c.cell_contents for c in cells if callable(c.cell_contents)]
        function = next((f for f in inner if getattr(f, "__name__", "") in NAMES), None)
    assert order == ["validation", "cpu_speed", "mixed_precision", "resume", "defaults"]
