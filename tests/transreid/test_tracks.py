"""Tracks by their mean features, behind gates of time and camera; search --tracklets."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from reid_commands import search
from reid_common.errors import UserError
from reid_core.data.tracklets import Seen, Tracklets
from tool_runs import fails, run
from transreid.inference.feature_files import FeatureSet, write_features
from transreid.inference.tracks import Gates, apart, join_tracks, mean_tracks, rank_tracks

# name, camera, first, last, angle of its features in degrees
TRACKS = [
    ("a1", "door", 0, 10, 0),
    ("b1", "door", 5, 15, 90),
    ("a2", "door", 20, 30, 5),
    ("a3", "hall", 8, 12, 8),
    ("b2", "hall", 400, 410, 88),
]
SEEN = [Seen(i, *track[:4]) for i, track in enumerate(TRACKS)]


def direction(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


def features() -> FeatureSet:
    """Three images a track, 2 degrees apart."""
    rows = [direction(track[4] + d) for track in TRACKS for d in (-2, 0, 2)]
    paths = [f"{track[0]}_{i}.jpg" for track in TRACKS for i in range(3)]
    return FeatureSet(paths, np.stack(rows), pids=np.repeat([0, 1, 0, 0, 1], 3))


def means() -> FeatureSet:
    return mean_tracks(features(), Tracklets(np.repeat(np.arange(5), 3), seen=SEEN))


def test_means() -> None:
    found = means()
    np.testing.assert_allclose(found.features[2], direction(5), atol=1e-6)
    assert found.paths == [f"{track[0]}_1.jpg" for track in TRACKS], "the one in the middle"
    np.testing.assert_array_equal(found.pids, [0, 1, 0, 0, 1])


@pytest.mark.parametrize(
    "gates, of_a1",
    [
        (Gates(), [False, True, True, True]),  # b1: door, at the same time
        (Gates(max_gap=10), [False, True, True, False]),
        (Gates(max_gap=9), [False, False, True, False]),
        (Gates(cameras="same"), [False, True, False, False]),
        (Gates(cameras="other"), [False, False, True, True]),
    ],
)
def test_gates(gates, of_a1) -> None:
    pairs = gates.pairs(SEEN, SEEN)
    np.testing.assert_array_equal(pairs[0, 1:], of_a1)
    np.testing.assert_array_equal(pairs, pairs.T)


def test_what_is_not_known_rules_nothing_out() -> None:
    unknown = [Seen(0, "x", "door"), Seen(1, "y", "", 0, 5), Seen(2, "z")]
    assert Gates().pairs(SEEN, unknown).all()
    with pytest.raises(UserError, match=r"--max-gap: the tracklet 'x' of t\.csv has no time"):
        Gates(max_gap=1).check(unknown, "t.csv")
    with pytest.raises(UserError, match=r"--cameras same: the tracklet 'y' of t\.csv has no cam"):
        Gates(cameras="same").check(unknown, "t.csv")
    with pytest.raises(UserError, match=r"--max-gap is -1"):
        Gates(max_gap=-1).check(SEEN, "t.csv")


def test_ranking_leaves_out_what_is_not_allowed() -> None:
    allowed = Gates().pairs(SEEN, SEEN) & ~np.eye(5, dtype=bool)
    ranking = rank_tracks(means(), means(), allowed, 6)
    np.testing.assert_array_equal(ranking.indices[0], [2, 3, 4, -1, -1, -1])
    assert ranking.similarities[0, 0] == pytest.approx(np.cos(np.radians(5)), abs=1e-6)
    assert np.isneginf(ranking.similarities[0, 3:]).all()


def test_joining() -> None:
    """a1 and a2 join at 3 degrees through a3 (8); both b join at 2 where time allows it."""
    gates, never = Gates(), apart(SEEN, SEEN)
    everything = gates.pairs(SEEN, SEEN) & ~np.eye(5, dtype=bool)
    np.testing.assert_array_equal(join_tracks(means(), everything, never, 0.99), [0, 1, 0, 0, 1])
    soon = Gates(max_gap=10).pairs(SEEN, SEEN) & ~np.eye(5, dtype=bool)
    np.testing.assert_array_equal(join_tracks(means(), soon, never, 0.99), [0, 1, 0, 0, 2])
    # Two that are seen at once are never joined, however low the similarity may be.
    found = join_tracks(means(), everything, never, -1.0)
    assert found[0] != found[1]


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """A feature file and tracks.csv beside it."""
    given = features()
    given.paths = [str(tmp_path / path) for path in given.paths]
    write_features(tmp_path / "crops.npz", given)
    rows = [["image", "tracklet", "camera", "time"]]
    for name, camera, first, last, _ in TRACKS:
        times = (first, (first + last) / 2, last)
        rows += [[f"{name}_{i}.jpg", name, camera, time] for i, time in enumerate(times)]
    with open(tmp_path / "tracks.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path / "crops.npz"


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_search_on_tracklets(crops, tmp_path, capsys) -> None:
    words = [crops, crops, "-o", tmp_path / "out", "--tracklets", tmp_path / "tracks.csv"]
    assert run(search, *words, "--top", 2, "--rows", 0, "--join", 0.99) == 0
    printed = capsys.readouterr().out
    assert "5 tracks are 2 persons" in printed and "5 tracks against 5, 10 neighbours" in printed
    found = table(tmp_path / "out/tracks.csv")
    assert [(r["tracklet"], r["found"]) for r in found[:4]] == [
        ("a1", "a2"),
        ("a1", "a3"),
        ("b1", "b2"),
        ("b1", "a3"),
    ]
    assert (found[2]["camera"], found[2]["time"]) == ("hall", "400")
    persons = table(tmp_path / "out/persons.csv")
    assert [row["person"] for row in persons] == list("01001")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--max-gap", 0, "--cameras", "same"], "no two of the 5 and 5 tracks"),
        (["--max-gap", -1], "--max-gap is -1"),
        (["--tracklets", "absent.csv"], "--tracklets: there is no file 'absent.csv'"),
    ],
)
def test_bad_requests(words, message, crops, tmp_path, capsys) -> None:
    given = [crops, crops, "-o", tmp_path / "out", "--tracklets", tmp_path / "tracks.csv"]
    assert message in fails(search, capsys, *given, *words)
    assert not (tmp_path / "out" / "ranking.npz").exists()
