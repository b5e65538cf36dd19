"""One's own images: folders and tables, their identities, cameras, splits, and what is wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import transreid  # noqa: F401  (registers the data sets)
from fastreid.config import get_cfg
from fastreid.data import build_reid_test_loader, build_reid_train_loader
from PIL import Image
from reid_common.errors import UserError
from reid_core.data.folder_reid import camera_of
from reid_core.data.opening import MissingDataset, open_dataset
from reid_core.data.records import Record, RecordDataset, choose_queries, natural_key
from reid_core.run.preflight import preflight
from reid_core.side_information.labelled_sets import camera_table


def draw(folder: Path, *names: str) -> Path:
    """Write a small image under each name, each of another colour."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = random.Random(name)
        Image.new("RGB", (16, 32), tuple(rng.randrange(256) for _ in range(3))).save(path)
    return folder


def named(items, folder: Path) -> dict[str, tuple]:
    """Path below a folder -> ids of the item."""
    return {str(Path(item[0]).relative_to(folder)): tuple(item[1:]) for item in items}


SHOP = (
    "train/alice/hall/2.jpg",
    "train/alice/door/1.png",
    "train/person 10/c2_x.jpg",
    "train/person 9/no camera.JPG",
    "query/bob/hall/5.jpg",
    "gallery/bob/door/6.jpg",
    "gallery/carol/7_c2s1_0.jpg",
)


def test_folders(tmp_path):
    folder = draw(tmp_path / "My Shop", *SHOP)
    (folder / "train/alice/notes.txt").write_text("no image")
    draw(folder, "train/.thumbnails/1.jpg", "__MACOSX/x/1.jpg", "train/alice/._1.jpg")
    data = open_dataset(f"FolderReID:{folder}")
    assert data.dataset_name == "my_shop"
    # alice bob carol "person 9" "person 10"; 2 door hall
    assert data.identities == ["alice", "bob", "carol", "person 9", "person 10"]
    assert data.cameras == ["2", "door", "hall"]
    assert named(data.train, folder) == {
        "train/alice/door/1.png": ("my_shop_0", "my_shop_1"),
        "train/alice/hall/2.jpg": ("my_shop_0", "my_shop_2"),
        "train/person 10/c2_x.jpg": ("my_shop_4", "my_shop_0"),
        "train/person 9/no camera.JPG": ("my_shop_3", "my_shop_-1"),
    }
    assert named(data.query, folder) == {"query/bob/hall/5.jpg": (1, 2)}
    assert named(data.gallery, folder) == {
        "gallery/bob/door/6.jpg": (1, 1),
        "gallery/carol/7_c2s1_0.jpg": (2, 0),
    }
    assert not hasattr(data, "viewpoint")


@pytest.mark.parametrize(
    "names, camera",
    [
        (["hall", "x_c3.jpg"], "hall"),
        (["0002_c1s1_000451_03.jpg"], "1"),
        (["0001_c2_f0046302.jpg"], "2"),
        (["0002_c002_00030600_0.jpg"], "2"),
        (["c12.jpg"], "12"),
        (["abc3.jpg"], ""),
        (["img_c3x.jpg"], ""),
        (["1.jpg"], ""),
    ],
)
def test_camera_of_a_file(names, camera):
    assert camera_of(names) == camera


def test_cameras_of_training_come_first(tmp_path):
    """A camera that training has not seen has no row, whatever its name."""
    images = ("train/a/door/1.jpg", "train/a/hall/2.jpg", "train/b/door/3.jpg")
    folder = draw(tmp_path / "shop", *images, "test/c/hall/4.jpg", "test/c/door/5.jpg")
    cameras = open_dataset(f"FolderReID:{folder}").cameras
    draw(folder, "test/c/atrium/6.jpg")
    data = open_dataset(f"FolderReID:{folder}")
    assert data.cameras == [*cameras, "atrium"] == ["door", "hall", "atrium"]
    table = camera_table(config_of(folder))
    assert table.format() == ("shop:2",)
    rows = {Path(item[0]).parent.name: table.row("shop", item[2]) for item in data.gallery}
    rows |= {Path(item[0]).parent.name: table.row("shop", item[2]) for item in data.query}
    assert rows["door"] == 0 and rows["hall"] == 1 and rows["atrium"] < 0


def config_of(folder: Path):
    cfg = get_cfg()
    cfg.DATASETS.NAMES = (f"FolderReID:{folder}",)
    return cfg


def test_natural_order():
    assert sorted(["c10", "c2", "b", "c", "2", "02"], key=natural_key) == [
        *("02", "2", "b", "c", "c2", "c10")
    ]


def test_queries_that_are_chosen():
    records = [
        Record(f"{identity}/{number}.jpg", identity, "test", camera)
        for identity, number, camera in [
            ("two cameras", 10, "a"),  # 9 comes before 10
            ("two cameras", 9, "a"),
            ("two cameras", 1, "b"),  # the only one of its camera: it stays in the gallery
            ("one each", 2, "b"),
            ("one each", 1, "a"),
            ("one camera", 1, "a"),
            ("one camera", 2, "a"),
            ("unknown cameras", 1, ""),
            ("unknown cameras", 2, ""),
            ("unknown cameras", 3, ""),
            ("one image", 1, ""),
        ]
    ]
    chosen = {records[i].path for i in choose_queries(records)}
    assert chosen == {"two cameras/9.jpg", "one each/1.jpg", "unknown cameras/1.jpg"}
    other = records[::-1]
    assert {other[i].path for i in choose_queries(other)} == chosen


@pytest.mark.parametrize("above, num_train", [("", 6), ("test/", 0)])
def test_folder_without_queries(tmp_path, above, num_train):
    """Without split folders all images are for training and testing; test/ is for testing."""
    names = [f"{pid}/cam{camera}/{n}.jpg" for pid in "ab" for camera, n in ((1, 1), (1, 2), (2, 3))]
    folder = draw(tmp_path, *(above + name for name in names))
    data = open_dataset(f"FolderReID:{folder}")
    assert len(data.train) == num_train
    assert set(named(data.query, folder)) == {f"{above}a/cam1/1.jpg", f"{above}b/cam1/1.jpg"}
    assert len(data.gallery) == 4
    for _, pid, camid in data.query:
        assert any(p == pid and c != camid for _, p, c in data.gallery)


def test_combineall_keeps_identities_and_counts_an_image_once(tmp_path):
    folder = draw(tmp_path / "all", "a/1.jpg", "a/2.jpg", "b/1.jpg")
    data = open_dataset(f"FolderReID:{folder}", combineall=True)
    assert sorted(item[1] for item in data.train) == ["all_0", "all_0", "all_1"]
    parts = draw(tmp_path / "parts", "train/a/1.jpg", "query/b/2.jpg", "gallery/b/3.jpg")
    data = open_dataset(f"FolderReID:{parts}", combineall=True)
    assert sorted(item[1] for item in data.train) == ["parts_0", "parts_1", "parts_1"]


@pytest.mark.parametrize(
    "names, message",
    [
        (["train/1.jpg"], r"'.*train/1.jpg' lies in no identity's folder; move it to '.*NAME/1"),
        (["train/a/1.pcx"], r"has no images .*train/IDENTITY"),
    ],
)
def test_wrong_folders(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        open_dataset(f"FolderReID:{draw(tmp_path, *names)}")


def test_file_for_a_folder_and_folder_for_a_table(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("image,identity\n")
    with pytest.raises(UserError, match="is a file; for a list of images write 'CSVReID:"):
        open_dataset(f"FolderReID:{table}")
    with pytest.raises(UserError, match="is a folder; for a folder an identity write 'FolderReID:"):
        open_dataset(f"CSVReID:{tmp_path}")
    with pytest.raises(MissingDataset, match="has no rows"):
        open_dataset(f"CSVReID:{table}")
    with pytest.raises(MissingDataset, match=r"no 'nothing.csv', nor '.*nothing.csv'; .* a table"):
        open_dataset("CSVReID:nothing.csv")


def test_folders_that_are_not_read_are_named(tmp_path, caplog):
    open_dataset(f"FolderReID:{draw(tmp_path, 'train/a/1.jpg', 'val/b/1.jpg')}")
    assert "only train are read, not val" in caplog.text


ROWS = (
    ("image", "identity", "split", "camera", "view"),
    ("i/1.jpg", "alice", "train", "door", "0"),
    ("i/2.jpg", "alice", "train", "hall", ""),
    ("i/3.jpg", "bob", "Query", "", "2"),
    ("i/4.jpg", "bob", "gallery", "hall", "-1"),
)


def write_table(folder: Path, rows=ROWS, separator: str = ",", name: str = "list.csv") -> Path:
    path = folder / name
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    return path


@pytest.fixture
def images(tmp_path):
    return draw(tmp_path, *(f"i/{n}.jpg" for n in range(1, 9)))


@pytest.mark.parametrize("separator, name", [(",", "list.csv"), (";", "list.csv"), ("\t", "a.tsv")])
def test_table(images, separator, name):
    data = open_dataset(f"CSVReID:{write_table(images, ROWS, separator, name)}")
    stem = name.split(".")[0]
    assert data.identities == ["alice", "bob"] and data.cameras == ["door", "hall"]
    assert named(data.train, images) == {
        "i/1.jpg": (f"{stem}_0", f"{stem}_0"),
        "i/2.jpg": (f"{stem}_0", f"{stem}_1"),
    }
    assert named(data.query, images) == {"i/3.jpg": (1, -1)}
    assert named(data.gallery, images) == {"i/4.jpg": (1, 1)}
    views = [data.viewpoint(str(images / f"i/{n}.jpg")) for n in (1, 2, 3, 4)]
    assert views == [0, -1, 2, -1] and data.num_views == 3


def test_table_as_excel_writes_it(images):
    """A byte order mark, columns of one's own, commas and line breaks in quotes."""
    text = '\ufeffidentity,Note,image\n"Doe, Jane","two\nlines",i/1.jpg\nJoe,,i/2.jpg\n'
    (images / "list.csv").write_bytes(text.encode().replace(b"\n", b"\r\n"))
    data = open_dataset("CSVReID:list.csv", root=str(images))
    assert data.identities == ["Doe, Jane", "Joe"]
    assert len(data.train) == 2 and len(data.gallery) == 2


def test_table_as_parquet(images):
    """Gaps make floats of a column of whole numbers, as in pandas."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "image": [f"i/{n}.jpg" for n in range(1, 5)],
        "identity": [7, 7, 10, 10],
        "split": ["train", "train", "query", "gallery"],
        "camera": [1.0, None, float("nan"), 12.0],
        "view": [0.0, None, 2.0, -1.0],
        "note": [[1], [2], [3], [4]],
    }
    parquet.write_table(pyarrow.table(columns), images / "list.parquet")
    data = open_dataset(f"CSVReID:{images / 'list.parquet'}")
    assert data.identities == ["7", "10"] and data.cameras == ["1", "12"]
    assert [item[1:] for item in data.train] == [("list_0", "list_0"), ("list_0", "list_-1")]
    assert data.query[0][1:] == (1, -1) and data.gallery[0][1:] == (1, 1)
    assert [data.viewpoint(str(images / f"i/{n}.jpg")) for n in (1, 2, 3)] == [0, -1, 2]
    parquet.write_table(pyarrow.table({"image": ["i/1.jpg"]}), images / "short.parquet")
    with pytest.raises(UserError, match="has no column 'identity', but image"):
        open_dataset(f"CSVReID:{images / 'short.parquet'}")
    (images / "broken.parquet").write_text("no parquet")
    with pytest.raises(UserError, match=r"broken.parquet' is no Parquet file"):
        open_dataset(f"CSVReID:{images / 'broken.parquet'}")
    columns = {"image": ["i/1.jpg", "i/2.jpg"], "identity": ["a", None]}
    parquet.write_table(pyarrow.table(columns), images / "gap.parquet")
    with pytest.raises(UserError, match=r"gap.parquet, row 2: column 'identity' is empty"):
        open_dataset(f"CSVReID:{images / 'gap.parquet'}")


@pytest.mark.parametrize(
    "row, message",
    [
        (("", "bob", "", "", ""), r"list.csv, line 6: column 'image' is empty"),
        (("i/5.jpg", " ", "", "", ""), r"list.csv, line 6: column 'identity' is empty"),
        (
            ("i/5.jpg", "bob", "trian", "", ""),
            r"list.csv, line 6: column 'split': 'trian' is none of tr",
        ),
        (
            ("i/5.jpg", "bob", "", "", "front"),
            r"list.csv, line 6: view is 'front'; write a 0-based integer",
        ),
        (("i/5.jpg", "bob"), r"list.csv, line 6 has"),
        (("i/5.jpg", "b,b", "", "", ""), r"list.csv, line 6 has"),
        (
            ("i/1.jpg", "bob", "query", "", ""),
            r"list.csv, line 6.*'i/1.jpg' is 'bob' here.*csv, line 2",
        ),
        (
            ("i/1.jpg", "alice", "train", "", ""),
            r"list.csv, line 6.*'i/1.jpg' stands at .*csv, line 2 already",
        ),
        (('"open', "bob", "", "", ""), r"is no CSV file in UTF-8"),
    ],
)
def test_wrong_rows(images, row, message):
    with pytest.raises(UserError, match=message):
        open_dataset(f"CSVReID:{write_table(images, (*ROWS, row))}")


@pytest.mark.parametrize(
    "rows, message",
    [
        ([("file", "identity")], r"has no column 'image', but file, identity; known are"),
        ([("image", "identity", "view", "view")], r"has two columns 'view'"),
        ([], r"has no column 'image', but none at all"),
        (
            [ROWS[0], ("j/1.jpg", *ROWS[1][1:])],
            r"list.csv, line 2: column 'image'.*'.*j/1.jpg'; paths",
        ),
    ],
)
def test_wrong_tables(images, rows, message):
    with pytest.raises(UserError, match=message):
        open_dataset(f"CSVReID:{write_table(images, rows)}")


def test_a_file_that_is_no_text(images):
    (images / "list.csv").write_bytes(b"image,identity\n\xff\xfe,x\n")
    with pytest.raises(UserError, match=r"is no CSV file in UTF-8"):
        open_dataset(f"CSVReID:{images / 'list.csv'}")


def test_an_image_may_be_query_and_gallery(images):
    rows = [ROWS[0], ("i/1.jpg", "a", "query", "1", ""), ("i/1.jpg", "a", "gallery", "1", "")]
    data = open_dataset(f"CSVReID:{write_table(images, rows)}")
    assert len(data.query) == len(data.gallery) == 1


def test_loaders_number_identities_and_tell_unknown_cameras_apart(tiny_cfg, tmp_path):
    """Two tables are trained together; no image without a camera hides another's."""
    draw(tmp_path, *(f"{n}.jpg" for n in range(12)))
    header = ("image", "identity", "split", "camera")
    for name, first in (("one", 0), ("two", 6)):
        rows = [
            (f"{first + n}.jpg", f"p{n // 2}", "train" if n < 4 else "test", "") for n in range(6)
        ]
        write_table(tmp_path, [header, *rows], name=f"{name}.csv")
    tiny_cfg.DATASETS.NAMES = (f"CSVReID:{tmp_path}/one.csv", f"CSVReID:{tmp_path}/two.csv")
    tiny_cfg.DATASETS.TESTS = tiny_cfg.DATASETS.NAMES[:1]
    tiny_cfg.DATASETS.CAMERAS = ("one:1", "two:1")
    tiny_cfg.DATALOADER.NUM_WORKERS = 0
    train = build_reid_train_loader(tiny_cfg, combineall=False).dataset
    assert train.num_classes == 4
    loader, num_query = build_reid_test_loader(tiny_cfg, dataset_name=tiny_cfg.DATASETS.TESTS[0])
    (batch,) = loader
    assert num_query == 1 and len(set(batch["camids"].tolist())) == 2


def test_testing_on_training_images_is_warned_of(tiny_cfg, tmp_path, caplog):
    name = f"FolderReID:{draw(tmp_path / 'shop', *(f'{p}/{n}.jpg' for p in 'abcd' for n in '12'))}"
    tiny_cfg.DATASETS.NAMES = tiny_cfg.DATASETS.TESTS = (name,)
    preflight(tiny_cfg)
    assert "8 of the 8 test images are training images, too" in caplog.text
    caplog.clear()
    tiny_cfg.DATASETS.NAMES = ("Market1501",)
    preflight(tiny_cfg)
    assert "training images, too" not in caplog.text


def test_records_can_be_used_directly():
    data = RecordDataset("x", [Record("a.jpg", "p", "train", "c"), Record("b.jpg", "p", "train")])
    assert data.train == [("a.jpg", "x_0", "x_0"), ("b.jpg", "x_0", "x_-1")]
    assert data.query == data.gallery == []
