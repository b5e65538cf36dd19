"""Which images a folder, a list or a CSV means."""

from __future__ import annotations

import os

import pytest
from reid_common.errors import UserError
from transreid.inference.image_lists import ImageItem, identity_number, list_images


def touch(folder, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_folder_is_searched_below_and_sorted(tmp_path) -> None:
    touch(tmp_path, "b/2.JPG", "b/10.png", "a.webp", "notes.txt", ".hidden.png", ".trash/x.png")
    os.symlink(tmp_path / "b", tmp_path / "z_link")
    os.symlink(tmp_path, tmp_path / "b" / "loop")
    found = [os.path.relpath(item.path, tmp_path) for item in list_images(tmp_path)]
    assert found == ["a.webp", "b/10.png", "b/2.JPG"], "each folder once, loops left out"
    assert all(item[1:] == (-1, -1, -1) for item in list_images(tmp_path))


def test_one_image_is_a_list_of_one(tmp_path) -> None:
    touch(tmp_path, "a.png")
    assert list_images(tmp_path / "a.png") == [ImageItem(str(tmp_path / "a.png"))]


def test_text_list_keeps_its_order(tmp_path, monkeypatch) -> None:
    touch(tmp_path, "lists/in_list.png", "here.png")
    monkeypatch.chdir(tmp_path)
    text = "\ufeff# comment\nhere.png\n\n  in_list.png \nnowhere.png\n"
    (tmp_path / "lists" / "l.txt").write_text(text, encoding="utf-8")
    found = [item.path for item in list_images("lists/l.txt")]
    assert found == ["here.png", "lists/in_list.png", "nowhere.png"]


def test_csv_with_labels(tmp_path) -> None:
    touch(tmp_path, "a.png", "b.png")
    text = "image, viewpoint,identity,camera\na.png,2,17,0\nb.png,,anna,\n/c.png,-3,,1\n"
    (tmp_path / "l.csv").write_text(text)
    items = list_images(tmp_path / "l.csv")
    assert items == [
        ImageItem(str(tmp_path / "a.png"), pid=17, camid=0, viewid=2),
        ImageItem(str(tmp_path / "b.png"), pid=identity_number("anna")),
        ImageItem("/c.png", camid=1),
    ]


def test_names_of_identities_are_the_same_number_everywhere() -> None:
    assert identity_number("17") == 17
    assert identity_number("") == identity_number("-1") == -1
    # First 8 bytes of SHA-256("anna"), without the last 2 bits; fits int64.
    digest = "55579b557896d0ce1764c47fed644f9b"
    assert identity_number("anna") == int(digest[:16], 16) >> 2
    assert identity_number("anna") != identity_number("Anna")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "path\na.png\n", "has no column 'image', but path"),
        ("l.csv", "image,camera\na.png,front\n", "line 2: camera is 'front'"),
        ("l.csv", "image,camera\na.png,1\nb.png\n", "line 3 has 1 values, the header 2"),
        ("l.csv", "image,camera\na.png,1,2\n", "line 2 has 3 values, the header 2"),
        ("l.csv", "image,camera\n,1\n", "line 2: the column 'image' is empty"),
        ("l.csv", "image\n", "names no image"),
        ("l.csv", "", "has no column 'image', but none at all"),
        ("l.csv", "image,view,view\na.png,1,2\n", "two columns 'view'"),
        ("l.txt", "# nothing\n", "names no image"),
    ],
)
def test_malformed_lists_are_refused(tmp_path, name, text, message) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        list_images(tmp_path / name)


def test_nothing_there_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="there is no image, folder or list"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match="there is no image in"):
        list_images(tmp_path)
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UserError, match="UTF-8"):
        list_images(tmp_path / "l.txt")
