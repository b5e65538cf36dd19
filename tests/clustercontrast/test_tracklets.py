"""Tracklets: images of one are one identity, two seen at the same time are two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clustercontrast.clustering.methods import CLUSTERING_REGISTRY, DBSCAN
from clustercontrast.clustering.tracklets import LINKS, constrain_distances, constrain_labels
from reid_common.errors import UserError
from reid_core.data.tracklets import Tracklets, read_tracklets
from sparse_pairs import dense, pairs_of

IMAGES = [f"{name}.jpg" for name in "abcdef"]


def read(folder: Path, *rows: str, header: str = "image,tracklet,camera,time") -> Tracklets:
    table = folder / "tracks.csv"
    table.write_text("\n".join([header, *rows]) + "\n")
    return read_tracklets(str(table), [str(folder / image) for image in IMAGES])


def test_a_table_is_read(tmp_path) -> None:
    """t1 lasts from 0 to 5, t2 from 5 to 6, both under door: they meet at 5. t3 is elsewhere."""
    rows = ("a.jpg,t1,door,0", "b.jpg,t1,door,5", "c.jpg,t2,door,5", "d.jpg,t2,door,6.5")
    found = read(tmp_path, *rows, "e.jpg,t3,hall,5", "x.jpg,t9,hall,5")
    np.testing.assert_array_equal(found.of_image, [0, 0, 1, 1, 2, -1])
    assert found.apart == {(0, 1)}


def test_without_time_there_are_no_two_at_once(tmp_path) -> None:
    found = read(tmp_path, "a.jpg,t1", "b.jpg,t2", header="image,tracklet")
    assert not found.apart


@pytest.mark.parametrize(
    "rows, message",
    [
        (["a.jpg,t1,door,0", "b.jpg,t1,hall,1"], "is under camera 'hall' here and 'door'"),
        (["a.jpg,t1,door,0", "a.jpg,t2,door,1"], "named twice"),
        (["a.jpg,t1,door,noon"], "time is 'noon'"),
        (["x.jpg,t1,door,0"], "none of the 6 images"),
    ],
)
def test_what_is_wrong_is_named(rows, message, tmp_path) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, *rows)
    with pytest.raises(UserError, match="there is no file"):
        read_tracklets(str(tmp_path / "no.csv"), IMAGES)


def test_distances() -> None:
    tracklets = Tracklets(np.array([0, 0, 1, 1, -1]), {(0, 1)})
    pairs = pairs_of({(0, 2): 0.1, (0, 4): 0.2, (2, 3): 0.4, (3, 4): 0.3}, 5)
    found = dense(constrain_distances(pairs, tracklets))
    assert found[0, 1] == found[2, 3] == 0, "within a tracklet"
    assert found[0, 2] == 1, "two identities"
    assert found[0, 4] == np.float32(0.2) and found[4, 3] == np.float32(0.3)
    assert (found == found.T).all() and (found.diagonal() == 0).all()


def test_a_long_tracklet_hangs_together_in_little_memory() -> None:
    """2,000 images of one and 50 of another, of which two are near one another; a lone one."""
    tracklets = Tracklets(np.array([*[0] * 2000, *[1] * 50, -1]))
    found = constrain_distances(pairs_of({(0, 1000): 0.4, (3, 2000): 0.1}, 2051), tracklets)
    assert found.nnz == 2000 * (2 * LINKS + 1) + 2 + 50 * 50 + 2 + 1
    assert abs(found - found.T).max() == 0 and (found[[0], [1000]] == 0).all()
    assert found.has_canonical_format
    for name in ("DBSCAN", "ConnectedComponents"):
        labels = CLUSTERING_REGISTRY.get(name)(found, 0.05, 4)
        np.testing.assert_array_equal(labels, [*[0] * 2000, *[1] * 50, -1])
        assert CLUSTERING_REGISTRY.get(name)(found, 0.2, 4).max() == 0


def test_labels_of_a_tracklet_are_one() -> None:
    tracklets = Tracklets(np.array([0, 0, 0, 1, 1, -1]))
    found = constrain_labels(np.array([0, 0, 1, -1, 2, 1]), tracklets, 1)
    np.testing.assert_array_equal(found, [0, 0, 0, 2, 2, 1])


def test_tracklets_at_the_same_time_are_parted() -> None:
    """Image 5 is near both: DBSCAN joins them through it. The larger tracklet stays."""
    tracklets = Tracklets(np.array([0, 0, 0, 1, 1, -1]), {(0, 1)})
    pairs = pairs_of({(2, 5): 0.2, (3, 5): 0.2}, 6)
    joined = DBSCAN(constrain_distances(pairs, tracklets), 0.5, 2)
    np.testing.assert_array_equal(joined, 0)
    parted = constrain_labels(joined, tracklets, 2)
    np.testing.assert_array_equal(parted, [0, 0, 0, 1, 1, 0])
    few = constrain_labels(joined, tracklets, 3)
    np.testing.assert_array_equal(few, [0, 0, 0, -1, -1, 0])
