"""Occluded-Duke: found under each name of its folder, read as DukeMTMC-reID is."""

from __future__ import annotations

import pytest
import transreid  # noqa: F401  (registers the data sets)
from reid_core.data.names import dataset_name
from reid_core.data.occluded_duke import FOLDERS
from reid_core.data.opening import MissingDataset, open_dataset


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_name(tmp_path, folder):
    root = tmp_path / "run-9_c9"  # must not be taken for an identity and a camera
    for split, name in (
        ("bounding_box_train", "0001_c2_f0046302"),
        ("bounding_box_train", "7139_c8_f0000001"),
        ("query", "0005_c1_f0046302"),
        ("bounding_box_test", "0005_c2_f0046985"),
    ):
        (root / folder / split).mkdir(parents=True, exist_ok=True)
        (root / folder / split / f"{name}.jpg").touch()
    data = open_dataset("OccludedDuke", root=str(root))
    ids = [item[1:] for item in data.train]
    assert ids == [("occludedduke_1", "occludedduke_1"), ("occludedduke_7139", "occludedduke_7")]
    assert data.query[0][1:] == (5, 0) and data.gallery[0][1:] == (5, 1)
    assert f"/{folder}/query/" in data.query[0][0]
    assert dataset_name("OccludedDuke") == "occludedduke"


def test_it_is_not_there(tmp_path):
    (tmp_path / "Occluded-Duke").mkdir()
    with pytest.raises(MissingDataset, match=r"OccludedDuke.*bounding_box_train.*Occluded_Duke/"):
        open_dataset("OccludedDuke", root=str(tmp_path))
