"""What READMEs named before packages were moved is found under the old name, with a warning."""

from __future__ import annotations

import importlib
import sys

import pytest
import transreid  # noqa: F401  (names its old modules)
from reid_common import moved

OLD = {
    "fastreid_compat.errors": "UserError",
    "fastreid_compat.command_line": "show_user_errors",
    "fastreid_compat.validation": "preflight",
    "fastreid_compat.item_filters": "REGISTERED",
    "fastreid_compat.cpu_speed": "keep_freed_memory",
    "transreid.attention": "attention_maps",
    "transreid.features.inference": "FeatureExtractor",
}


@pytest.mark.parametrize("name", OLD)
def test_an_old_name_gives_the_new_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{name} has moved to"):
        old = importlib.import_module(name)
    new = importlib.import_module(moved._NEW_NAMES[name])
    assert old is new
    assert hasattr(new, OLD[name])


def test_every_new_name_exists() -> None:
    for new in moved._NEW_NAMES.values():
        importlib.import_module(new)
