"""DATASETS.FILTERS: its syntax, and one message for what cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest
from cfs.filters import FILTER_REGISTRY, build_filters
from fastreid.config import get_cfg
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.data import filter_hook as item_filters
from reid_core.run.validation import validate_config

SIZE = {"NAME": "ResolutionFilter", "MIN_HEIGHT": 64}
BLUR = {"NAME": "BlurFilter", "MIN": 2.5, "SIZE": [64, 32]}
FILE = """
DATASETS:
  FILTERS:
  - {NAME: ResolutionFilter, MIN_HEIGHT: 64}
  - NAME: BlurFilter
    MIN: 2.5
    SIZE: [64, 32]
"""


def test_the_default_is_no_filter() -> None:
    assert load_config().DATASETS.FILTERS == []
    assert item_filters.chosen_items(load_config(), ["a"]) is None


def test_files_bases_options_and_dumps(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text(FILE)
    (tmp_path / "same.yml").write_text("_BASE_: base.yml\nSEED: 1\n")
    (tmp_path / "other.yml").write_text(
        "_BASE_: base.yml\nDATASETS:\n  FILTERS: [{NAME: DuplicateFilter}]\n"
    )
    cfg = load_config(tmp_path / "same.yml")
    assert cfg.DATASETS.FILTERS == [SIZE, BLUR]
    assert [type(one).__name__ for one in build_filters(cfg.DATASETS.FILTERS)] == [
        "ResolutionFilter",
        "BlurFilter",
    ]
    assert load_config(tmp_path / "other.yml").DATASETS.FILTERS == [{"NAME": "DuplicateFilter"}]
    (tmp_path / "dumped.yml").write_text(cfg.dump())
    assert load_config(tmp_path / "dumped.yml").DATASETS.FILTERS == [SIZE, BLUR]
    option = "[{'NAME': 'CFSFilter', 'SCORES': 'x', 'KEEP': 0.5}]"
    cfg = load_config(tmp_path / "same.yml", ["DATASETS.FILTERS", option])
    assert cfg.DATASETS.FILTERS == [{"NAME": "CFSFilter", "SCORES": "x", "KEEP": 0.5}]
    assert load_config(tmp_path / "same.yml", ["DATASETS.FILTERS", "[]"]).DATASETS.FILTERS == []


def test_a_config_with_filters_can_be_read_without_cfs(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(FILE)
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "a.yml"))
    assert cfg.DATASETS.FILTERS == [SIZE, BLUR]


def test_but_not_trained(monkeypatch) -> None:
    monkeypatch.setattr(item_filters, "REGISTERED", [])
    cfg = get_cfg()
    cfg.DATASETS.FILTERS = [SIZE]
    with pytest.raises(UserError, match="import cfs"):
        item_filters.check_filters(cfg)
    with pytest.raises(UserError, match="import cfs"):
        item_filters.chosen_items(cfg, ["a.jpg"])


BAD = [
    ("ResolutionFilter", r"FILTERS is 'ResolutionFilter'; write a list"),
    (["BlurFilter"], r"FILTERS\[0\]: 'BlurFilter' is no mapping with a NAME"),
    ([{"MIN": 3}], r"FILTERS\[0\]: .* with a NAME"),
    ([SIZE, {"NAME": "BlurFilte"}], r"FILTERS\[1\].NAME: 'BlurFilte'.*Did you mean 'BlurFilter'"),
    ([{"NAME": ["x"]}], r"FILTERS\[0\].NAME"),
    ([{**SIZE, "MIN_HIGHT": 3}], r"no option 'MIN_HIGHT'. Did you mean MIN_HEIGHT\? Known: MIN_H"),
    ([{"NAME": "ResolutionFilter"}], r"no limit is given"),
    ([{**SIZE, "MAX_HEIGHT": 32}], r"MIN_HEIGHT 64 is above MAX_HEIGHT 32"),
    ([{"NAME": "ResolutionFilter", "MIN_WIDTH": "64px"}], r"MIN_WIDTH is '64px'; write a number"),
    ([{"NAME": "ResolutionFilter", "MIN_WIDTH": -1}], r"MIN_WIDTH is -1"),
    ([{"NAME": "AspectRatioFilter"}], r"no limit is given"),
    ([{"NAME": "BlurFilter"}], r"BlurFilter needs MIN"),
    ([{**BLUR, "SIZE": [64]}], r"SIZE is \[64\]; write \[height, width\]"),
    ([{"NAME": "DuplicateFilter", "MAX_DISTANCE": 20}], r"MAX_DISTANCE is 20.*0 to 8"),
    ([{"NAME": "CFSFilter", "SCORES": "{list}", "KEEP": 1.5}], r"CFSFilter: keep is 1.5"),
    ([{"NAME": "CFSFilter", "SCORES": "{list}"}], r"KEEP or KEEP_NUM is needed"),
    (
        [{"NAME": "CFSFilter", "SCORES": "{list}", "KEEP": 0.5, "KEEP_NUM": 3}],
        r"leave one of them out",
    ),
    ([{"NAME": "CFSFilter", "SCORES": "/no/scores", "KEEP": 0.5}], r"there is no '/no/scores'"),
    (
        [{"NAME": "NeighbourFilter", "FEATURES": "/no/pool.npz", "TARGET": "t.npz", "KEEP": 0.5}],
        r"there is no '/no/pool.npz'",
    ),
    ([{"NAME": "ListFilter", "LIST": "/no/list.txt"}], r"there is no '/no/list.txt'"),
    ([{"NAME": "ListFilter", "LIST": "{image}"}], r"is no list; its name must end in .txt"),
    ([{"NAME": "ListFilter", "LIST": "{list}", "EXCLUDE": "no"}], r"EXCLUDE is 'no'"),
]


@pytest.mark.parametrize("entries, message", BAD, ids=str)
def test_what_cannot_work_is_one_message_before_anything_is_read(
    tiny_cfg, tmp_path, entries, message
) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\n")
    (tmp_path / "a.jpg").touch()
    places = {"{list}": str(tmp_path / "list.txt"), "{image}": str(tmp_path / "a.jpg")}
    if isinstance(entries, list):
        entries = [
            {k: places.get(str(v), v) for k, v in one.items()} if isinstance(one, dict) else one
            for one in entries
        ]
    tiny_cfg.DATASETS.FILTERS = entries
    with pytest.raises(UserError, match=message):
        validate_config(tiny_cfg)
    validate_config(tiny_cfg, eval_only=True)  # an evaluation has no use for them


def test_a_mapping_instead_of_a_list() -> None:
    with pytest.raises(UserError, match=r"write a list of mappings, as in \[\{NAME: Res"):
        build_filters(BLUR)
    with pytest.raises(UserError, match=r"DATASETS.FILTERS"):
        load_config("", ["DATASETS.FILTERS", "{'NAME': 'BlurFilter'}"])


def test_every_filter_has_a_case_here() -> None:
    named = {
        one["NAME"]
        for entries, _ in BAD
        for one in entries
        if isinstance(one, dict) and isinstance(one.get("NAME"), str)
    }
    assert set(FILTER_REGISTRY._obj_map) <= named
