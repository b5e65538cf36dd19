"""What was measured is kept: after a kill, beside other runs, until an image changes."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import python_forks
from cfs.filters import measured_images
from cfs.filters.cache import MeasurementCache
from cfs.filters.measured_images import measured
from cfs.filters.measurements import PerceptualHash, Sharpness
from dinopretrain.data.images import SelectedImages
from filter_pictures import write_picture
from person_pictures import picture
from reid_core.data.opening import open_dataset
from torch import tensor

HERE = Path(__file__).parent
SHARPNESS = Sharpness((64, 32))


@pytest.fixture
def images(pool):
    return open_dataset(f"ImageFolder:{pool}").images


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """Indices that were measured."""
    seen: list[int] = []
    measure = measured_images._measure

    def count(measurement, images, index):
        seen.append(index)
        return measure(measurement, images, index)

    monkeypatch.setattr(measured_images, "_measure", count)
    return seen


def look(images, folder: Path, measurement=SHARPNESS):
    return measured(measurement, images, np.arange(len(images)), str(folder))


def test_a_second_look_reads_no_image(images, tmp_path, counted) -> None:
    first = look(images, tmp_path / "cache")
    assert sorted(counted) == list(range(10))
    counted.clear()
    second = look(images, tmp_path / "cache")
    assert counted == []
    np.testing.assert_array_equal(first.values, second.values)
    assert (first.values > 0).all()


def test_other_parameters_other_order_other_images(images, pool, tmp_path, counted) -> None:
    first = look(images, tmp_path / "cache")
    counted.clear()
    look(images, tmp_path / "cache", Sharpness((32, 32)))
    assert len(counted) == 10
    counted.clear()
    turned = look(SelectedImages(images, tensor([7, 2])), tmp_path / "cache")
    assert counted == []
    np.testing.assert_array_equal(turned.values, first.values[[7, 2]])
    write_picture(pool / "03.png", picture(64, 32, 77))
    write_picture(pool / "00-new.png", picture(64, 32, 78))
    more = look(open_dataset(f"ImageFolder:{pool}").images, tmp_path / "cache")
    assert sorted(counted) == [0, 4]  # "00-new.png" comes before "00.png"
    np.testing.assert_array_equal(np.delete(more.values, [0, 4]), np.delete(first.values, 3))
    assert more.values[4] != first.values[3]
    counted.clear()
    look(open_dataset(f"ImageFolder:{pool}").images, tmp_path / "cache")
    assert counted == []


def test_killed_and_resumed_equals_uninterrupted(images, pool, tmp_path, counted) -> None:
    """SIGKILL at the eighth image, blocks of three: six images are known."""
    done = python_forks.run(HERE / "killed_measuring.py", pool, tmp_path / "cache", 8)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = look(images, tmp_path / "cache")
    assert sorted(counted) == [6, 7, 8, 9]
    uninterrupted = look(images, tmp_path / "other")
    np.testing.assert_array_equal(resumed.values, uninterrupted.values)


def test_shards_are_merged_and_damaged_ones_measured_again(
    images, tmp_path, counted, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(measured_images, "BLOCK", 3)
    first = look(images, tmp_path / "cache")
    (shard,) = (tmp_path / "cache" / SHARPNESS.key).iterdir()
    counted.clear()
    assert (look(images, tmp_path / "cache").values == first.values).all()
    assert counted == []
    shard.write_bytes(shard.read_bytes()[:-300])
    (shard.parent / "other.npz").write_bytes(b"")
    again = look(images, tmp_path / "cache")
    assert len(counted) == 10 and "is damaged and not used" in caplog.text
    np.testing.assert_array_equal(again.values, first.values)


def test_unreadable_images_have_a_reason_that_is_kept(images, pool, tmp_path, counted) -> None:
    (pool / "02.png").write_bytes(b"no image at all")
    whole = (pool / "04.png").read_bytes()
    (pool / "04.png").write_bytes(whole[:-60])
    (pool / "06.png").write_bytes(b"")
    for measurement in (SHARPNESS, PerceptualHash()):
        errors = look(images, tmp_path / "cache", measurement).errors
        assert sorted(errors) == [2, 4, 6]
        assert errors[2] == "not an image" and errors[6] == "empty file"
        assert "truncated" in errors[4]
        counted.clear()
        assert look(images, tmp_path / "cache", measurement).errors == errors
        assert counted == []


def test_a_disk_that_fails_is_asked_again(images, tmp_path, monkeypatch) -> None:
    def broken(index):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(images, "content", broken)
        items = look(images, tmp_path / "cache")
    assert set(items.errors.values()) == {os.strerror(errno.EIO)}
    assert look(images, tmp_path / "cache").errors == {}


def test_a_file_that_is_gone(images, pool, tmp_path) -> None:
    (pool / "01.png").unlink()
    assert look(images, tmp_path / "cache").errors == {1: "No such file or directory"}


def test_an_empty_cache_knows_nothing(tmp_path) -> None:
    cache = MeasurementCache(str(tmp_path / "no"), SHARPNESS)
    stamps = np.zeros((2, 2), np.int64)
    assert cache.find(np.array([1, 2], np.uint64), stamps).tolist() == [-1, -1]
    cache.merge()
    assert not (tmp_path / "no").exists()
