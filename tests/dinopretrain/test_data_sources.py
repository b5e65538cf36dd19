"""Data sets without labels: files, LMDB, tar files, lists; recognised, read, refused."""

from __future__ import annotations

import io
import logging
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from dinopretrain.data import tar_images
from dinopretrain.data.images import BadImage, ChainedImages, FileImages
from dinopretrain.data.path_list import PathList
from PIL import Image
from reid_common.errors import UserError
from reid_core.data.opening import open_dataset

NAMES = [f"{folder}/{i}.jpg" for folder in ("000", "001") for i in range(3)]


def jpeg(number: int, size: tuple[int, int] = (16, 32)) -> bytes:
    """A JPEG of one grey, by which it can be told."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (30 * number + 20,) * 3).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def number_of(image: np.ndarray) -> int:
    return round((float(image.mean()) - 20) / 30)


def write_files(folder: Path) -> Path:
    for number, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    return folder


def write_tar(path: Path, names: list[str] = NAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in names:
            for suffix, content in ((".txt", b"a caption"), ("", jpeg(NAMES.index(name)))):
                member = tarfile.TarInfo(name + suffix)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def write_lmdb(folder: Path, keys: bool = True, subdir: bool = True) -> None:
    lmdb = pytest.importorskip("lmdb")
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / ("lmdb" if subdir else "data.lmdb"))
    with (
        lmdb.open(path, map_size=2**20, subdir=subdir) as base,
        base.begin(write=True) as transaction,
    ):
        for number, name in enumerate(NAMES):
            transaction.put(name.encode(), jpeg(number))
        transaction.put(b"__len__", b"6")
    if keys:
        (folder / "keys.pkl").write_bytes(pickle.dumps(NAMES[::-1]))


def shown(name: str, root: Path) -> list[int]:
    images = open_dataset(name, root=str(root)).images
    return [number_of(images.read(i)) for i in range(len(images))]


@pytest.mark.parametrize("folder", ["LUPerson", "LUP", "LUPerson/images"])
def test_files_in_the_root(tmp_path, folder):
    write_files(tmp_path / folder)
    assert shown("LUPerson", tmp_path) == [0, 1, 2, 3, 4, 5]


def test_image_folder_anywhere_and_images_in_other_folders_count(tmp_path):
    write_files(tmp_path / "x" / "images")
    assert shown(f"ImageFolder:{tmp_path}/x", Path("/nowhere")) == [0, 1, 2, 3, 4, 5]
    (tmp_path / "x" / "more").mkdir()
    (tmp_path / "x" / "more" / "1.jpg").write_bytes(jpeg(7))
    assert shown("ImageFolder:x", tmp_path) == [0, 1, 2, 3, 4, 5, 7]


def test_name_and_content(tmp_path):
    write_files(tmp_path)
    images = open_dataset(f"ImageFolder:{tmp_path}").images
    assert images.name(4) == str(tmp_path / "001/1.jpg")
    assert images.content(4) == jpeg(4)
    assert images.read(4).shape == (32, 16, 3)


@pytest.mark.parametrize("subdir", [True, False])
def test_lmdb_with_its_list_of_keys(tmp_path, subdir):
    write_lmdb(tmp_path / "LUP", subdir=subdir)
    assert shown("LUPerson", tmp_path) == [5, 4, 3, 2, 1, 0]
    images = open_dataset("LUPerson", root=str(tmp_path)).images
    assert images.name(0).endswith("lmdb/001/2.jpg")


def test_lmdb_itself_as_the_place_and_without_a_list(tmp_path):
    write_lmdb(tmp_path / "LUP", keys=False)
    for place in ("LUP/lmdb", "LUP", "LUP/lmdb/data.mdb"):
        assert shown(f"LUPerson:{place}", tmp_path) == [0, 1, 2, 3, 4, 5]


def test_a_key_that_is_not_there_is_a_bad_image(tmp_path):
    write_lmdb(tmp_path / "LUP")
    (tmp_path / "LUP" / "keys.pkl").write_bytes(pickle.dumps(["x.jpg", NAMES[0]]))
    images = open_dataset("LUPerson", root=str(tmp_path)).images
    with pytest.raises(BadImage, match="no such key"):
        images.read(0)
    assert number_of(images.read(1)) == 0


def test_a_malicious_list_of_keys_is_refused(tmp_path):
    write_lmdb(tmp_path / "LUP")

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "LUP" / "keys.pkl").write_bytes(pickle.dumps([Malicious()]))
    with pytest.raises(UserError, match="no pickled list of names"):
        _ = open_dataset("LUPerson", root=str(tmp_path)).images
    assert not (tmp_path / "made").exists()


def test_tar_files(tmp_path):
    write_tar(tmp_path / "LUP" / "shard-1.tar", NAMES[4:])
    write_tar(tmp_path / "LUP" / "shard-0.tar", NAMES[:4])
    assert shown("LUPerson", tmp_path) == [0, 1, 2, 3, 4, 5]
    assert shown("ImageFolder:LUP/shard-1.tar", tmp_path) == [4, 5]
    images = open_dataset("LUPerson", root=str(tmp_path)).images
    assert images.name(5) == str(tmp_path / "LUP/shard-1.tar/001/2.jpg")
    copied = pickle.loads(pickle.dumps(images))  # as for a spawned worker
    assert copied.content(5) == jpeg(5)


def test_more_tar_files_than_are_kept_open(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_images, "MAX_OPEN", 2)
    for number, name in enumerate(NAMES):
        write_tar(tmp_path / "LUP" / f"{number}.tar", [name])
    images = open_dataset("LUPerson", root=str(tmp_path)).images
    for _ in range(2):
        assert [number_of(images.read(i)) for i in (0, 3, 1, 5, 2, 4)] == [0, 3, 1, 5, 2, 4]
    assert len(images._files) == 2


def test_the_index_of_a_tar_is_kept_and_follows_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.tar"
    write_tar(path, NAMES[:3])
    scans = []
    scan = tar_images.scan_tar
    monkeypatch.setattr(tar_images, "scan_tar", lambda p: scans.append(p) or scan(p))
    for _ in range(2):
        assert shown(f"ImageFolder:{path}", tmp_path) == [0, 1, 2]
    assert len(scans) == 1
    (tmp_path / "a.tar.index.npz").write_bytes(b"PK damaged")
    assert shown(f"ImageFolder:{path}", tmp_path) == [0, 1, 2]
    write_tar(path, NAMES[3:])
    os.utime(path, ns=(1, 1))
    assert shown(f"ImageFolder:{path}", tmp_path) == [3, 4, 5]
    assert len(scans) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "a.tar.index.npz"]


def test_the_index_goes_to_the_cache_where_the_tar_is_read_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "a.tar"
    write_tar(path)
    keep = tar_images._keep

    def read_only(index, path, place):
        if place.startswith(path):
            raise PermissionError(place)
        keep(index, path, place)

    monkeypatch.setattr(tar_images, "_keep", read_only)
    assert shown(f"ImageFolder:{path}", tmp_path) == [0, 1, 2, 3, 4, 5]
    assert len(list((tmp_path / "cache" / "dinopretrain").iterdir())) == 1
    monkeypatch.setattr(tar_images, "scan_tar", lambda p: pytest.fail("the index was kept"))
    assert shown(f"ImageFolder:{path}", tmp_path) == [0, 1, 2, 3, 4, 5]


def test_damaged_tars_are_refused(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path)
    whole = path.read_bytes()
    inside = whole.index(jpeg(5)) + 100
    path.write_bytes(whole[:inside])
    with pytest.raises(UserError, match=r"a\.tar.*(cut off|unexpected end)"):
        _ = open_dataset(f"ImageFolder:{path}").images
    with tarfile.open(path, "w:gz") as tar:
        tar.add(__file__)
    with pytest.raises(UserError, match="unpack it if it is compressed"):
        _ = open_dataset(f"ImageFolder:{path}").images
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.tar"):
        _ = open_dataset(f"ImageFolder:{path}").images
    with tarfile.open(path, "w") as tar:
        tar.add(__file__)
    with pytest.raises(UserError, match="no image in"):
        _ = open_dataset(f"ImageFolder:{path}").images


CHOSEN = [NAMES[4], NAMES[0], NAMES[3]]


@pytest.mark.parametrize("store", ["files", "images", "lmdb", "tar"])
@pytest.mark.parametrize("kind", ["txt", "pkl"])
@pytest.mark.parametrize("prefix", ["", "images/"])
def test_a_list_chooses(tmp_path, store, kind, prefix):
    place = tmp_path / "LUP"
    if store == "lmdb":
        write_lmdb(place)
    elif store == "tar":
        write_tar(place / "a.tar")
    else:
        write_files(place / "images" if store == "images" or prefix else place)
    listed = [prefix + name for name in CHOSEN]
    content = pickle.dumps(listed) if kind == "pkl" else "\n".join(listed).encode()
    (tmp_path / f"CFS_list.{kind}").write_bytes(content)
    assert shown(f"LUPerson:?list=CFS_list.{kind}", tmp_path) == [4, 0, 3]
    assert shown(f"LUPerson:{place}?list={tmp_path}/CFS_list.{kind}", Path("/nowhere")) == [4, 0, 3]


@pytest.mark.parametrize("images", ["images", "."])
def test_a_list_beside_its_images(tmp_path, images):
    write_files(tmp_path / images)
    (tmp_path / "CFS_list.pkl").write_bytes(pickle.dumps(CHOSEN))
    assert shown(f"LUPerson:{tmp_path}/CFS_list.pkl", tmp_path / "else") == [4, 0, 3]


def test_a_list_with_absolute_names(tmp_path):
    write_files(tmp_path / "a")
    (tmp_path / "list.txt").write_text("\n".join(str(tmp_path / "a" / n) for n in CHOSEN))
    assert shown(f"ImageFolder:{tmp_path}/list.txt", tmp_path) == [4, 0, 3]


def test_names_of_a_list_that_are_not_stored_are_left_out_and_counted(tmp_path, caplog):
    write_tar(tmp_path / "LUP" / "a.tar")
    (tmp_path / "list.txt").write_text(f"{NAMES[1]}\nno/such.jpg\n{NAMES[2]}\nnor/this.jpg")
    with caplog.at_level(logging.WARNING):
        assert shown("LUPerson:?list=list.txt", tmp_path) == [1, 2]
    assert "2 of the 4 images" in caplog.text and "no/such.jpg" in caplog.text


def test_a_list_of_which_most_is_not_stored_is_refused(tmp_path):
    write_tar(tmp_path / "LUP" / "a.tar")
    (tmp_path / "list.txt").write_text(f"{NAMES[1]}\nno/such.jpg\nnor/this.jpg")
    with pytest.raises(UserError, match=r"2 of the 3 images of .*list.txt .*no/such.jpg"):
        shown("LUPerson:?list=list.txt", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LUPerson", "there is no folder 'LUPerson' or 'LUP' in"),
        ("LUPerson:/no/such", "there is no '/no/such'"),
        ("ImageFolder", "needs an argument"),
        ("LUPerson:", "ends in a colon"),
        ("ImageFolder:empty", "is empty"),
        ("ImageFolder:texts", "there is no image in"),
        ("ImageFolder:texts/a.doc", "is no folder of images"),
        ("ImageFolder:good?list=none.txt", "there is no 'none.txt'"),
        ("ImageFolder:good?list=texts/a.doc", "is no list; its name must end in"),
        ("ImageFolder:list.txt?list=list.txt", "names two lists"),
        ("ImageFolder:list.txt", "is neither in .*images.* nor in"),
        ("ImageFolder:good?list=list.txt", "is neither in .*images.* nor in"),
        ("ImageFolder:tars?list=list.txt", "none of the 1 images of the list"),
    ],
)
def test_wrong_places_are_refused(tmp_path, name, message):
    for folder in ("empty", "texts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "texts" / "a.doc").write_text("x")
    (tmp_path / "list.txt").write_text("unknown.jpg")
    write_files(tmp_path / "good")
    write_tar(tmp_path / "tars" / "a.tar")
    with pytest.raises(UserError, match=message):
        _ = open_dataset(name, root=str(tmp_path)).images


def test_opening_waits_until_images_are_asked_for(tmp_path, monkeypatch):
    write_files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("dinopretrain.data.sources.tree_names", lambda folder: pytest.fail("early"))
        data = open_dataset(f"ImageFolder:{tmp_path}")
        assert (data.train, data.query, data.gallery) == ((), (), ())
    assert len(data.images) == 6 and data.images is data.images


def test_chain_of_sources(tmp_path):
    write_files(tmp_path)
    parts = [NAMES[:2], [], NAMES[2:5], NAMES[5:]]
    folder = str(tmp_path)
    images = ChainedImages([FileImages(PathList.from_iterable(p), folder) for p in parts])
    assert [number_of(images.read(i)) for i in range(len(images))] == [0, 1, 2, 3, 4, 5]
    assert images.name(5) == str(tmp_path / NAMES[5])
    for index in (-1, 6):
        with pytest.raises(IndexError):
            images.read(index)


BAD = {
    "empty.jpg": (b"", "empty file"),
    "cut.jpg": (jpeg(3, (64, 128))[:-200], "truncated"),
    "text.jpg": (b"<html>404 not found</html>", "not an image"),
    "one.png": (None, "1 x 1 pixels"),
    "thin.png": (None, "3 x 50 pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_have_a_reason(tmp_path, name):
    content, reason = BAD[name]
    path = tmp_path / name
    if content is None:
        Image.new("RGB", (1, 1) if name == "one.png" else (3, 50)).save(path)
    else:
        path.write_bytes(content)
    with pytest.raises(BadImage) as caught:
        open_dataset(f"ImageFolder:{tmp_path}").images.read(0)
    assert caught.value.name == str(path) and reason in caught.value.reason.lower()
    assert "\n" not in caught.value.reason


def test_a_file_that_has_gone_is_a_bad_image(tmp_path):
    write_files(tmp_path / "a")
    images = open_dataset(f"ImageFolder:{tmp_path}/a").images
    shutil.rmtree(tmp_path / "a" / "000")
    with pytest.raises(BadImage, match="No such file"):
        images.read(0)
    assert number_of(images.read(3)) == 3
