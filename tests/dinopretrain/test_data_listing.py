"""Listings: compact names, text, Parquet and pickled lists, trees of files."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import pytest
from dinopretrain.data.listing import read_list, tree_names
from dinopretrain.data.path_list import BLOCK, PathList
from dinopretrain.data.pickled_names import read_pickled_names
from reid_common.errors import UserError

NAMES = ["b/2.jpg", "a/1.jpg", "mañana/人.png", "", "a/1.jpg"]


def test_names_come_back():
    paths = PathList.from_iterable(NAMES)
    assert list(paths) == NAMES and [paths[i] for i in range(5)] == NAMES
    assert paths.raw(2) == "mañana/人.png".encode()
    for index in (-1, 5):
        with pytest.raises(IndexError):
            paths[index]


def test_names_that_are_no_utf8_come_back():
    name = os.fsdecode(b"\xff\xfe.jpg")
    assert PathList.from_iterable([name])[0] == name
    assert PathList.from_iterable([b"\xff\xfe.jpg"])[0] == name


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_blocks_leave_no_seam(count):
    names = [f"folder/{i}" for i in range(count)]
    paths = PathList.from_iterable(iter(names))
    assert len(paths) == count and list(paths) == names
    assert paths.nbytes == sum(map(len, names)) + 8 * (count + 1)


def test_find():
    here = PathList.from_iterable(["c", "a", "b", "a"])
    wanted = PathList.from_iterable(["a", "z", "c", "", "b"])
    assert here.find(wanted).tolist() == [1, -1, 0, -1, 2]
    assert here.find(PathList.from_iterable([])).tolist() == []
    assert PathList.from_iterable([]).find(wanted).tolist() == [-1] * 5


def test_find_tells_names_of_one_hash_apart(monkeypatch):
    monkeypatch.setattr("builtins.hash", lambda value: 7)
    here = PathList.from_iterable(["c", "a", "b"])
    assert here.find(PathList.from_iterable(["b", "x", "c"])).tolist() == [2, -1, 0]


def _all_names(paths: PathList, queue: multiprocessing.Queue) -> None:
    queue.put((list(paths), paths.data.is_shared()))


def test_a_spawned_process_gets_the_names_in_shared_memory():
    from torch import multiprocessing as torch_multiprocessing

    context = torch_multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(
        target=_all_names, args=(PathList.from_iterable(NAMES), queue), daemon=True
    )
    process.start()
    assert queue.get(timeout=120) == (NAMES, True)
    process.join()


# Protocols below 3 have no bytes: Python 3 would have codecs.encode called instead.
@pytest.mark.parametrize(
    ("protocol", "kind"),
    [*((protocol, str) for protocol in range(6)), *((p, str.encode) for p in (3, 4, 5))],
)
def test_pickled_lists_of_every_protocol(tmp_path, protocol, kind):
    names = [kind(name) for name in NAMES]
    names.append(names[2])  # the same object: a reference to the first
    names.extend(kind(f"{i}'\"\\\n.jpg") for i in range(3000))  # more than one APPENDS
    names.append(kind("x" * 300))
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps(names, protocol))
    read = [name.decode() for name in read_pickled_names(str(path))]
    assert read == [name if isinstance(name, str) else name.decode() for name in names]


def test_pickled_list_of_python_2(tmp_path):
    path = tmp_path / "list.pkl"
    path.write_bytes(b"\x80\x02]q\x00(U\x05a.jpgq\x01U\x05b.jpgq\x02h\x01e.")
    assert list(read_pickled_names(str(path))) == [b"a.jpg", b"b.jpg", b"a.jpg"]
    path.write_bytes(b"(lp0\nS'a.jpg'\np1\naS'b.jpg'\np2\nag1\na.")
    assert list(read_pickled_names(str(path))) == [b"a.jpg", b"b.jpg", b"a.jpg"]


def test_pickled_names_that_are_no_utf_8(tmp_path):
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps([os.fsdecode(b"\xff.jpg")]))
    assert list(read_pickled_names(str(path))) == [b"\xff.jpg"]
    path.write_bytes(pickle.dumps(["\ud800.jpg"]))
    with pytest.raises(UserError, match="which is no text"):
        list(read_pickled_names(str(path)))


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_code_is_refused(tmp_path, protocol):
    target, path = tmp_path / "made", tmp_path / "keys.pkl"
    path.write_bytes(pickle.dumps(["a.jpg", Malicious(target), "b.jpg"], protocol))
    with pytest.raises(
        UserError, match=r"no pickled list of names: it holds a reference to posix\.mkdir"
    ):
        list(read_pickled_names(str(path)))
    assert not target.exists()
    pickle.loads(path.read_bytes())  # which would have done it
    assert target.exists()


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"a": "b"}, "a dict, not a list"),
        (["a", 1], "an int in the list"),
        (["a", ["b"]], "a list in the list"),
        (["a", None], "a NoneType in the list"),
        ("a", "a str, not a list"),
        (("a", "b"), "a tuple, not a list"),
        (["x" * 70_000], "a name of 70000 bytes"),
    ],
)
def test_other_pickles_are_refused(tmp_path, value, what):
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps(value, 4))
    with pytest.raises(UserError, match=what):
        list(read_pickled_names(str(path)))


def test_a_list_within_itself_is_refused(tmp_path):
    value: list = ["a"]
    value.append(value)
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps(value, 4))
    with pytest.raises(UserError, match="a list in the list"):
        list(read_pickled_names(str(path)))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_cut_pickle_is_refused_wherever_it_was_cut(tmp_path, protocol):
    whole = pickle.dumps(["a.jpg", "bb.jpg"], protocol)
    path = tmp_path / "list.pkl"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="is cut off"):
            list(read_pickled_names(str(path)))


def test_text_list(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeff# best first\r\nb/2.jpg\r\n\n  a 1.jpg \nmañana.jpg".encode())
    assert list(read_list(str(path))) == ["b/2.jpg", "a 1.jpg", "mañana.jpg"]


@pytest.mark.parametrize("columns", [("image", "score"), ("other", "path"), ("whatever",)])
def test_parquet_list(tmp_path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "list.parquet"
    names = ["b.jpg", "a.jpg"]
    table = {column: names if column != "score" else [0.5, 0.1] for column in columns}
    table["other"] = ["x", "y"] if len(columns) > 1 else names
    if len(columns) == 1:
        table = {columns[0]: names}
    parquet.write_table(pyarrow.table(table), path)
    assert list(read_list(str(path))) == names


def _write(path: Path, kind: str) -> None:
    import pyarrow
    from pyarrow import parquet

    if kind == "no column":
        parquet.write_table(pyarrow.table({"x": ["a"], "y": ["b"]}), path)
    elif kind == "numbers":
        parquet.write_table(pyarrow.table({"image": [1, 2]}), path)
    elif kind == "no parquet":
        path.write_bytes(b"nonsense")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no column", "has the columns x, y; call the one"),
        ("numbers", "column 'image' holds 1, which is no name"),
        ("no parquet", "is no Parquet file"),
    ],
)
def test_wrong_parquet_lists_are_refused(tmp_path, kind, message):
    pytest.importorskip("pyarrow")
    path = tmp_path / "list.parquet"
    _write(path, kind)
    with pytest.raises(UserError, match=message):
        read_list(str(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", b"# nothing\n\n", "names no image"),
        ("list.txt", b"a.jpg\n\x00\x01\n", "line 2, is no text"),
        ("list.csv", b"image\na.jpg\n", "is no list; its name must end in"),
        ("list.pkl", pickle.dumps([]), "names no image"),
    ],
)
def test_wrong_lists_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_list(str(tmp_path / name))


def test_tree_is_listed_in_one_order_without_what_is_no_image(tmp_path):
    for name in (
        "b/2.JPG",
        "b/10.jpg",
        "a/x/1.png",
        "z.jpeg",
        "a.txt",
        ".hidden.jpg",
        "b/keys.pkl",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "1.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "folder.jpg" / "1.jpg").touch()
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    names = [b"z.jpeg", b"a/x/1.png", b"b/10.jpg", b"b/2.JPG", b"folder.jpg/1.jpg"]
    assert list(tree_names(str(tmp_path))) == names


def test_names_take_the_memory_of_their_bytes(tmp_path):
    path = tmp_path / "list.txt"
    with open(path, "w") as file:
        file.writelines(f"{i:08d}.jpg\n" for i in range(1000))
    assert read_list(str(path)).nbytes == 1000 * 12 + 8 * 1001
