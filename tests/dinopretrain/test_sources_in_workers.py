"""Every source of images is read by workers after the main process has read it, and by threads."""

from __future__ import annotations

import io
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import pyarrow as pa
import pyarrow.parquet
import pytest
from dinopretrain.data.sources import open_list, open_place
from torch.utils.data import DataLoader, Dataset

NAMES = [f"{number}.jpg" for number in range(8)]
STORES = ("files", "lmdb", "lmdb file", "tar", "parquet list", "list of an lmdb")


def write(folder: Path, store: str, version: bytes = b"") -> str:
    """Store ``version`` and its name as the content of each image; return the place."""
    folder.mkdir(exist_ok=True)
    if "lmdb" in store:
        path = folder / ("x.lmdb" if "file" in store else "lmdb")
        base = lmdb.open(str(path), map_size=2**20, subdir="file" not in store)
        with base, base.begin(write=True) as transaction:
            for name in NAMES:
                transaction.put(name.encode(), version + name.encode())
        (folder / "keys.pkl").write_bytes(pickle.dumps(NAMES))
    elif store == "tar":
        for half in (0, 1):
            with tarfile.open(folder / f"{half}.tar", "w") as tar:
                for name in NAMES[4 * half : 4 * half + 4]:
                    member = tarfile.TarInfo(name)
                    member.size = len(version + name.encode())
                    tar.addfile(member, io.BytesIO(version + name.encode()))
    else:
        for name in NAMES:
            (folder / name).write_bytes(version + name.encode())
    return str(folder)


def opened(folder: Path, store: str):
    place = write(folder, store)
    if "list" not in store:
        return open_place(place)
    path = folder.parent / "list.parquet"
    pa.parquet.write_table(pa.table({"path": NAMES}), path)
    return open_list(str(path), place)


class Contents(Dataset):
    def __init__(self, images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> str:
        return self.images.content(index).decode()


def read_by_workers(images, context: str) -> list[str]:
    loader = DataLoader(Contents(images), 2, num_workers=2, multiprocessing_context=context)
    return [name for batch in loader for name in batch]


@pytest.mark.parametrize("store", STORES)
def test_forked_workers_after_the_main_process(store: str, tmp_path: Path) -> None:
    images = opened(tmp_path / "pool", store)
    assert images.content(0).decode() == NAMES[0]
    for _ in range(2):  # and the main process reads on
        assert read_by_workers(images, "fork") == NAMES
        assert images.content(7).decode() == NAMES[7]


@pytest.mark.parametrize("store", ["lmdb", "tar"])
def test_spawned_workers_after_the_main_process(store: str, tmp_path: Path) -> None:
    images = opened(tmp_path / "pool", store)
    assert images.content(0).decode() == NAMES[0]
    assert read_by_workers(images, "spawn") == NAMES


@pytest.mark.parametrize("store", ["lmdb", "tar"])
def test_threads_and_two_sources_of_one_place(store: str, tmp_path: Path) -> None:
    first, second = opened(tmp_path / "pool", store), open_place(str(tmp_path / "pool"))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "pool")
    third = open_place(str(link))
    with ThreadPoolExecutor(8) as threads:
        for images in (first, second, third):
            found = threads.map(images.content, [*range(8)] * 4)
            assert [content.decode() for content in found] == NAMES * 4


@pytest.mark.parametrize("store", ["lmdb", "tar"])
def test_a_place_that_was_written_anew_is_read_anew(store: str, tmp_path: Path) -> None:
    images = opened(tmp_path / "pool", store)
    assert images.content(0) == b"0.jpg"
    for file in (tmp_path / "pool").rglob("*.*"):
        file.unlink()
    write(tmp_path / "pool", store, b"new ")
    assert open_place(str(tmp_path / "pool")).content(0) == b"new 0.jpg"
