"""Lists and scores: how names are spelt, in which forms they come, and what is refused."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import lmdb
import numpy as np
import pyarrow
import pytest
from cfs.filters import build_filters
from cfs.images.keys import key_list
from cfs.scores.reading import read_scores
from dinopretrain.data.images import ChainedImages, FileImages, SelectedImages
from dinopretrain.data.path_list import PathList
from pyarrow import parquet
from reid_common.errors import UserError
from reid_core.data.opening import open_dataset
from torch import tensor

NAMES = ["a/0.png", "a/1.png", "b/2.png", "b/3.png"]


@pytest.fixture
def lup(pool, tmp_path, monkeypatch) -> Path:
    """Four images in <root>/LUP/images/{a,b}; the root is $FASTREID_DATASETS."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "root"))
    for number, name in enumerate(NAMES):
        path = tmp_path / "root/LUP/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((pool / f"0{number}.png").read_bytes())
    return tmp_path / "root/LUP"


def as_lmdb(place: Path, folder: Path) -> str:
    with lmdb.open(str(folder / "lmdb")) as base, base.begin(write=True) as transaction:
        for name in NAMES:
            transaction.put(name.encode(), (place / "images" / name).read_bytes())
    return str(folder / "lmdb")


def as_tar(place: Path, folder: Path) -> str:
    with tarfile.open(folder / "x.tar", "w") as tar:
        for name in NAMES:
            content = (place / "images" / name).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(folder / "x.tar")


def write_list(path: Path, names: list[str]) -> str:
    if path.suffix == ".txt":
        path.write_text("".join(f"{name}\n" for name in names))
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(names))
    else:
        parquet.write_table(pyarrow.table({"image": names}), path)
    return str(path)


@pytest.mark.parametrize("kind", ["files", "lmdb", "tar"])
@pytest.mark.parametrize("suffix", [".txt", ".pkl", ".parquet"])
@pytest.mark.parametrize("prefix", ["", "images/"])
def test_every_source_and_every_list(lup, tmp_path, run, kind, suffix, prefix) -> None:
    place = {"files": lambda *_: str(lup), "lmdb": as_lmdb, "tar": as_tar}[kind](lup, tmp_path)
    images = open_dataset(f"LUPerson:{place}").images
    listed = write_list(tmp_path / f"list{suffix}", [prefix + NAMES[2], prefix + NAMES[0]])
    names, _ = run(images, {"NAME": "ListFilter", "LIST": listed})
    assert names == ["0.png", "2.png"]
    names, _ = run(images, {"NAME": "ListFilter", "LIST": listed, "EXCLUDE": True})
    assert names == ["1.png", "3.png"]
    names, _ = run(images, {"NAME": "CFSFilter", "SCORES": listed, "KEEP_NUM": 1})
    assert names == ["2.png"]
    names, _ = run(images, {"NAME": "BlurFilter", "MIN": 0}, {"NAME": "DuplicateFilter"})
    assert names == ["0.png", "1.png", "2.png", "3.png"]


@pytest.mark.parametrize(
    "spelt",
    ["{root}/LUP/images/b/2.png", "LUP/images/b/2.png", "images/b/2.png", "b/2.png", "2.png"],
)
def test_spellings_of_files(lup, tmp_path, run, spelt, monkeypatch) -> None:
    listed = write_list(tmp_path / "list.txt", [spelt.format(root=tmp_path / "root")])
    entry = {"NAME": "ListFilter", "LIST": listed}
    assert run(open_dataset("LUPerson").images, entry)[0] == ["2.png"]
    # Items of a labelled set are paths, here relative to the working directory.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTREID_DATASETS", "root")
    paths = FileImages(PathList.from_iterable(f"root/LUP/images/{name}" for name in NAMES))
    if spelt.startswith(("{root}", "LUP", "2")):
        assert run(paths, entry)[0] == ["2.png"]


def test_a_list_in_the_data_root(lup, run) -> None:
    write_list(lup / "list.txt", ["b/3.png"])
    images = open_dataset("LUPerson").images
    assert run(images, {"NAME": "ListFilter", "LIST": "LUP/list.txt"})[0] == ["3.png"]


def test_a_list_of_other_images_shows_both_spellings(lup, tmp_path, run) -> None:
    listed = write_list(tmp_path / "list.txt", ["c/9.png"])
    with pytest.raises(UserError, match=r"none of the 1 .*'c/9\.png'.*'a/0\.png'.*use the list"):
        # Before any image is measured.
        run(
            open_dataset("LUPerson").images,
            {"NAME": "BlurFilter", "MIN": 1},
            {"NAME": "ListFilter", "LIST": listed},
        )
    assert not (tmp_path / "cache").exists()


def test_file_names_that_several_images_have(lup, tmp_path, run) -> None:
    (lup / "images/b/0.png").write_bytes((lup / "images/a/0.png").read_bytes())
    listed = write_list(tmp_path / "list.txt", ["0.png"])
    with pytest.raises(UserError, match=r"without a folder.*'a/0\.png' and 'b/0\.png'"):
        run(open_dataset("LUPerson").images, {"NAME": "ListFilter", "LIST": listed})


def test_names_of_no_image_are_counted(lup, tmp_path, run, caplog) -> None:
    listed = write_list(tmp_path / "list.txt", ["c/9.png", NAMES[1]])
    assert run(open_dataset("LUPerson").images, {"NAME": "ListFilter", "LIST": listed})[0] == [
        "1.png"
    ]
    assert "1 of the 2 names" in caplog.text


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "entry", [{"NAME": "ListFilter"}, {"NAME": "CFSFilter", "KEEP": 0.5}], ids=str
)
def test_a_malicious_pickle_is_refused(lup, tmp_path, run, entry) -> None:
    path = tmp_path / "CFS_list.pkl"
    path.write_bytes(pickle.dumps([NAMES[0], Malicious(tmp_path / "harmed")]))
    key = "LIST" if entry["NAME"] == "ListFilter" else "SCORES"
    with pytest.raises(UserError, match="no pickled list of names"):
        run(open_dataset("LUPerson").images, {**entry, key: str(path)})
    assert not (tmp_path / "harmed").exists()


def write_scores(path: Path, names: list[str], scores: list[float | None]) -> None:
    path.parent.mkdir(exist_ok=True)
    table = {"path": names, "score": pyarrow.array(scores, pyarrow.float32()), "reason": names}
    parquet.write_table(pyarrow.table(table), path)


@pytest.mark.parametrize(
    "how, kept",
    [
        ({"KEEP": 1.0}, ["0.png", "1.png", "2.png"]),
        ({"KEEP": 0.5}, ["1.png", "2.png"]),  # 1.5 of three
        ({"KEEP_NUM": 2}, ["1.png", "2.png"]),
        ({"KEEP_NUM": 1}, ["1.png"]),
        ({"KEEP_NUM": 0}, []),
    ],
    ids=str,
)
def test_shards_of_scores(lup, tmp_path, run, how, kept) -> None:
    """1 and 2 are equal: sorted by path. 3 has no score."""
    folder = tmp_path / "scores"
    write_scores(folder / "part-00000.parquet", [NAMES[3], NAMES[2]], [None, 0.75])
    write_scores(folder / "part-00001.parquet", [NAMES[1], NAMES[0]], [0.75, -0.5])
    (folder / "run.json").write_text("{}")
    entry = {"NAME": "CFSFilter", "SCORES": str(folder), **how}
    names, (done,) = run(open_dataset("LUPerson").images, entry)
    assert names == kept
    reasons = {reason["reason"]: reason for reason in done["dropped"]}
    assert reasons["no score"]["images"] == 1
    if len(kept) < 3:
        best = reasons[f"not among the best {len(kept)}"]
        assert best["images"] == 3 - len(kept)
        assert best["examples"][0] == {
            "image": str(lup / "images" / NAMES[0]),
            "detail": "score -0.500000",
        }


def test_one_file_of_scores_and_images_that_it_does_not_name(lup, tmp_path, run, caplog) -> None:
    write_scores(tmp_path / "s/all.parquet", NAMES[:2], [0.1, 0.2])
    entry = {"NAME": "CFSFilter", "SCORES": str(tmp_path / "s/all.parquet"), "KEEP_NUM": 3}
    names, (done,) = run(open_dataset("LUPerson").images, entry)
    assert names == ["0.png", "1.png"]
    assert [(x["reason"], x["images"]) for x in done["dropped"]] == [("no score", 2)]
    assert "KEEP_NUM is 3, but only 2" in caplog.text


def test_scores_that_cannot_be_read(tmp_path) -> None:
    def refused(table: dict, message: str) -> None:
        parquet.write_table(pyarrow.table(table), tmp_path / "x.parquet")
        with pytest.raises(UserError, match=message):
            read_scores(str(tmp_path / "x.parquet"))

    refused({"image": ["a"], "score": [0.5]}, "columns image, score; needed are path and score")
    refused({"path": ["a"], "score": ["0.5"]}, "'score' must hold floats, not string")
    refused({"path": [1], "score": [0.5]}, "'path' must hold text, not int64")
    refused({"path": ["a", None], "score": [0.5, 0.1]}, "'path' has gaps")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="no Parquet file"):
        read_scores(str(tmp_path / "x.parquet"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no scores in"):
        build_filters([{"NAME": "CFSFilter", "SCORES": str(tmp_path / "empty"), "KEEP": 0.5}])


def test_places_in_a_list_are_scores(tmp_path) -> None:
    scores = read_scores(write_list(tmp_path / "x.pkl", ["b", "a"]))
    assert scores.are_places and list(scores.names) == ["b", "a"]
    np.testing.assert_array_equal(scores.values, [0, -1])


def test_names_of_selected_and_chained_images(lup) -> None:
    images = open_dataset("LUPerson").images
    selected = SelectedImages(images, tensor([3, 1]))
    assert list(key_list(selected)) == [NAMES[3], NAMES[1]]
    assert list(key_list(ChainedImages([selected, images]))) == [NAMES[3], NAMES[1], *NAMES]
    chained = ChainedImages([selected, images])
    assert chained.stamp(0) == images.stamp(3)
    with chained.open(1) as file:
        assert file.read() == images.content(1)
