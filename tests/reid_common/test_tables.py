"""One table for everything: training set, list of images, side information."""

from __future__ import annotations

import pytest
from dinopretrain.data.loader import open_images
from PIL import Image
from reid_common.errors import UserError
from reid_common.tables import cell_number, read_rows
from reid_core.config import load_config
from reid_core.data.opening import open_dataset
from reid_core.side_information.labelled_sets import match
from transreid.inference.image_lists import ImageItem, identity_number, list_images

IMAGES = ("i/1.jpg", "i/2.jpg", "i/3.jpg", "i/4.jpg")
ROWS = (
    ("alice", "train", "0", "5"),
    ("alice", "train", "1", ""),
    ("bob", "query", "", "2"),
    ("bob", "gallery", "1", "-1"),
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "i").mkdir()
    for name in IMAGES:
        Image.new("RGB", (4, 8)).save(tmp_path / name)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    return tmp_path


def write_table(path, header: str, rows=ROWS, separator: str = ",") -> str:
    lines = [header, *(",".join((i, *row, "mine")) for i, row in zip(IMAGES, rows, strict=True))]
    path.write_text("\n".join(lines).replace(",", separator))
    return str(path)


@pytest.mark.parametrize("view", ["view", "viewpoint"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_one_table_for_training_extraction_and_side_information(root, view, separator) -> None:
    header = f"image,identity,split,camera,{view},note"
    table = write_table(root / "list.csv", header, ROWS, separator)
    paths = [str(root / name) for name in IMAGES]

    data = open_dataset("CSVReID:list.csv", root=str(root))
    assert [item[0] for item in (*data.train, *data.query, *data.gallery)] == paths
    assert [data.viewpoint(path) for path in paths] == [5, -1, 2, -1]
    assert [item[2] for item in data.train] == ["list_0", "list_1"]
    assert [item[2] for item in (*data.query, *data.gallery)] == [-1, 1]

    alice, bob = identity_number("alice"), identity_number("bob")
    assert list_images(table) == [
        ImageItem(paths[0], alice, 0, 5),
        ImageItem(paths[1], alice, 1, -1),
        ImageItem(paths[2], bob, -1, 2),
        ImageItem(paths[3], bob, 1, -1),
    ]

    unlabelled = open_images(load_config(), "CSVReID:list.csv")
    assert [unlabelled.name(index) for index in range(len(unlabelled))] == paths[:2]

    labels = match(table, paths)
    assert [(labels[path].camera, labels[path].viewpoint) for path in paths] == [
        (0, 5),
        (1, -1),
        (-1, 2),
        (1, -1),
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_names_of_cameras_are_numbered_as_in_training(root, suffix) -> None:
    cameras = ("hall", "door", "", "atrium")  # the last one is none of training
    rows = [(*row[:2], camera, row[3]) for row, camera in zip(ROWS, cameras, strict=True)]
    table = write_table(root / "list.csv", "image,identity,split,camera,view,note", rows)
    if suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import csv, parquet

        table = str(root / "list.parquet")
        parquet.write_table(csv.read_csv(root / "list.csv"), table)
        assert pyarrow.parquet.read_schema(table).names[-1] == "note"
    data = open_dataset(f"CSVReID:{table}", root=str(root))
    assert data.cameras == ["door", "hall", "atrium"]
    assert [item.camid for item in list_images(table)] == [1, 0, -1, 2]
    # Without the column split a table is no training set, and its cameras are rows of the model.
    table = write_table(root / "bare.csv", "image,identity,kind,camera,view,note", rows)
    with pytest.raises(UserError, match="line 2: camera is 'hall'; write a 0-based integer"):
        list_images(table)


def test_a_column_of_its_own_name_counts_before_another(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("viewpoint,image,view\n1,a.jpg,2\n")
    ((place, row),) = read_rows(str(tmp_path / "a.csv"), ("image",))
    assert place.endswith("a.csv, line 2") and row == {"image": "a.jpg", "view": "2"}
    (tmp_path / "a.csv").write_text("viewpoint,image,viewpoint\n1,a.jpg,2\n")
    with pytest.raises(UserError, match="two columns 'viewpoint'"):
        list(read_rows(str(tmp_path / "a.csv"), ("image",)))


def test_numbers_of_cells() -> None:
    cells = ("3", " 3 ", "3.0", 3, 3.0, "", " ", None, float("nan"), "NaN", "None", "-1", -7)
    numbers = [cell_number({"view": cell}, "view", "here") for cell in cells]
    assert numbers == [3] * 5 + [-1] * 8
    assert cell_number({}, "view", "here") == -1
    for cell in ("1.5", "inf", "x"):
        with pytest.raises(UserError, match=f"here: view is '{cell}'; write a 0-based integer"):
            cell_number({"view": cell}, "view", "here")
