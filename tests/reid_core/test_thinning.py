"""Fewer identities of a data set, by its name."""

from __future__ import annotations

import re

import pytest
from fastreid.data import build_reid_test_loader
from reid_common.errors import UserError
from reid_core.data.names import dataset_name, result_name, split_name
from reid_core.data.opened_sets import opened_set
from reid_core.data.opening import open_dataset
from reid_core.data.thinning import camera_of, split_thinning
from synthetic import write_market


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """12 training and 10 test identities under 3 cameras, and 20 distractors."""
    root = tmp_path_factory.mktemp("thinned")
    data = write_market(root, num_train_ids=12, num_test_ids=10)
    picture = next((data / "bounding_box_test").glob("*.jpg")).read_bytes()
    for number in range(20):
        (data / "bounding_box_test" / f"0000_c1s1_{number:06d}_00.jpg").write_bytes(picture)
    return root


@pytest.fixture(autouse=True)
def _root(root, monkeypatch) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(root))


def identities(items) -> set:
    return {item[1] for item in items}


def test_the_protocol_is_kept() -> None:
    whole, thinned = open_dataset("Market1501"), open_dataset("Market1501:identities=5")
    assert len(identities(thinned.train)) == len(identities(thinned.query)) == 5
    assert thinned.data == thinned.train
    for split in ("train", "query", "gallery"):
        kept = identities(getattr(thinned, split)) - {0}
        expected = [item for item in getattr(whole, split) if item[1] in kept]
        assert [item for item in getattr(thinned, split) if item[1] != 0] == expected
    assert identities(thinned.query) == identities(thinned.gallery) - {0}
    assert sum(item[1] == 0 for item in thinned.gallery) == 10  # 20 * 5 / 10


def test_it_is_repeatable_and_a_smaller_part_is_within_a_larger_one() -> None:
    names = ["Market1501:identities=3", "Market1501:identities=6", "Market1501:identities=6,seed=1"]
    small, large, other = (open_dataset(name) for name in names)
    assert open_dataset(names[0]).gallery == small.gallery
    assert identities(small.train) < identities(large.train)
    assert identities(small.query) < identities(large.query)
    assert identities(other.train) != identities(large.train)


def test_more_than_the_test_has_are_all_of_it() -> None:
    assert len(identities(open_dataset("Market1501:identities=11").query)) == 10


def test_combined_with_its_test() -> None:
    data = open_dataset("Market1501:identities=5", combineall=True)
    assert len(identities(data.train)) == 5 + 5  # distractors (0) are junk to FastReID
    assert data.data == data.train


def camera(item) -> int:
    """1-based, by the file name."""
    return int(re.search(r"_c(\d+)s", item[0])[1])


@pytest.mark.parametrize(
    "name, cameras",
    [
        ("Market1501:cameras=1,3", {1, 3}),
        ("Market1501:cameras=2-3", {2, 3}),
        ("Market1501:cameras=2-9", {2, 3}),
        ("Market1501:identities=5:cameras=1", {1}),
        ("Market1501:identities=5,seed=1:cameras=1-2", {1, 2}),
    ],
)
def test_cameras(name: str, cameras: set[int]) -> None:
    all_cameras, some = open_dataset(name.split(":cameras")[0]), open_dataset(name)
    for split in ("train", "query", "gallery"):
        items = getattr(all_cameras, split)
        kept = [item for item in items if camera(item) in cameras]
        assert getattr(some, split) == kept and 0 < len(kept) < len(items)
    assert some.data == some.train


def test_cameras_that_no_image_has() -> None:
    with pytest.raises(UserError, match="no image of these cameras"):
        open_dataset("Market1501:cameras=4-6")


def test_names_with_cameras() -> None:
    name = "FolderReID:/data/shop:identities=5:cameras=1-2"
    assert split_name(name) == ("FolderReID", "/data/shop") and dataset_name(name) == "shop"
    assert result_name(name, "") == "shop:identities=5:cameras=1-2"


def test_names() -> None:
    name = "Market1501:identities=5,seed=2"
    assert split_name(name) == ("Market1501", None) and dataset_name(name) == "market1501"
    assert result_name(name, "") == name
    own = "FolderReID:/data/shop:identities=5"
    assert split_name(own) == ("FolderReID", "/data/shop") and dataset_name(own) == "shop"
    assert result_name(own, "") == "shop:identities=5"
    assert split_thinning("FolderReID:/data/identities=5") == (
        "FolderReID:/data/identities=5",
        None,
    )


@pytest.mark.parametrize(
    "name, message",
    [
        ("Market1501:identities=0", "a number of identities"),
        ("Market1501:identities=many", "a number of identities"),
        ("Market1501:identities=5,seed=-1", "a seed if it is not to be 0"),
        ("Market1501:identities=0:cameras=1", "a number of identities"),
        ("Market1501:cameras=0", "write the cameras to keep, as in"),
        ("Market1501:identities=5:cameras=1;2", "write the cameras to keep, as in"),
        ("Market1501:cameras=1-4:cameras=1-2", "once each, and cameras last"),
        ("Market1501:cameras=1-4:identities=5", "once each, and cameras last"),
        ("Market1501:identities=13", "12 identities in training and 10 in its queries"),
        ("Market1501:identites=5", "takes no argument.*Market1501:identities=200"),
    ],
)
def test_wrong_numbers(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_dataset(name)


def test_loaders_read_it(transreid_cfg, root, monkeypatch) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(root))  # the config's fixture has set its own
    name = "Market1501:identities=5"
    transreid_cfg.DATASETS.TESTS = (name,)
    loader, num_query = build_reid_test_loader(transreid_cfg, dataset_name=name)
    opened = opened_set(name)
    assert num_query == len(opened.query)
    assert len(loader.dataset) == len(opened.query) + len(opened.gallery)


@pytest.mark.parametrize(
    "camid, number",
    [
        ("market1501_3", 3),
        ("msmt17_10", 10),
        (3, 3),
        (-1, -1),
        ("-1", -1),
        ("shop_-1", -1),
        (None, -1),
    ],
)
def test_number_of_a_camera(camid, number) -> None:
    assert camera_of(camid) == number
