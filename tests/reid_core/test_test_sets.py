"""What cannot be evaluated is refused before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.data.matches import unmatched_queries
from reid_core.run.test_sets import check_test_sets

IMAGES = {  # name: files of a FolderReID, besides training images
    "fine": ("test/a/0_c1_.png", "test/a/1_c2_.png", "test/b/0_c1_.png", "test/b/1_c2_.png"),
    "one camera": ("query/a/0_c1_.png", "gallery/a/1_c1_.png"),
    "strangers": ("query/a/0_c1_.png", "gallery/b/1_c2_.png"),
    "no test part": (),
    "no gallery": ("query/a/0_c1_.png",),
    "without cameras": ("query/a/0.png", "gallery/a/1.png"),
    "half": ("query/a/0_c1_.png", "gallery/a/1_c2_.png", "query/b/0_c1_.png"),
}


def config(folder: Path, name: str):
    for file in (*IMAGES[name], "train/x/0_c1_.png", "train/x/1_c2_.png"):
        path = folder / "shop" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # nobody reads it here
    cfg = load_config()
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = (f"FolderReID:{folder}/shop",)
    return cfg


@pytest.mark.parametrize(
    "name, message",
    [
        ("one camera", "none of its 1 queries .*all its test images are of one camera"),
        ("strangers", "none of its 1 queries has a gallery image of its identity"),
        ("no test part", "has 0 query and 0 gallery images; an evaluation needs both"),
        ("no gallery", "has 1 query and 0 gallery images"),
    ],
)
def test_refused(tmp_path, name: str, message: str) -> None:
    cfg = config(tmp_path, name)
    with pytest.raises(UserError, match=message + ".*TEST.EVAL_PERIOD 0"):
        check_test_sets(cfg)
    cfg.TEST.EVAL_PERIOD = 0
    check_test_sets(cfg)  # nothing is evaluated
    with pytest.raises(UserError, match=message):
        check_test_sets(cfg, eval_only=True)
    cfg.DATASETS.TESTS = ()
    check_test_sets(cfg, eval_only=True)


@pytest.mark.parametrize("name", ["fine", "without cameras", "half"])
def test_not_refused(tmp_path, name: str, caplog) -> None:
    check_test_sets(config(tmp_path, name))
    assert ("1 of the 2 queries have no match" in caplog.text) == (name == "half")


def test_the_rule() -> None:
    gallery = [("a", 1), ("a", 2), ("b", 1), ("c", -1)]
    queries = [("a", 1), ("b", 1), ("b", 2), ("c", 5), ("b", -1), ("d", 1)]
    assert unmatched_queries(queries, gallery) == [1, 5]
