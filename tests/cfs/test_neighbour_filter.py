"""NeighbourFilter against a naive search, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cfs.filters import build_filters
from reid_common.errors import UserError
from transreid.inference.feature_files import FeatureSet, write_features

N, T, D = 10, 3, 5


def unit(count: int, seed: int, dim: int = D) -> np.ndarray:
    features = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.fixture
def files(tmp_path: Path, pool: Path) -> dict[str, str]:
    """Feature files of all pictures but 07.png, in another order, and of a target."""
    paths = [str(pool / f"{n:02d}.png") for n in (3, 1, 2, 0, 4, 5, 6, 8, 9)]
    write_features(tmp_path / "pool.npz", FeatureSet(paths, unit(9, 1)))
    write_features(tmp_path / "target.npz", FeatureSet([f"t{i}.png" for i in range(T)], unit(T, 2)))
    return {"FEATURES": str(tmp_path / "pool.npz"), "TARGET": str(tmp_path / "target.npz")}


def ranked() -> tuple[list[str], np.ndarray]:
    """Names in the order of the feature file, and the naive cosines to each target, (9, T)."""
    names = [f"{n:02d}.png" for n in (3, 1, 2, 0, 4, 5, 6, 8, 9)]
    pool, target = unit(9, 1), unit(T, 2)
    return names, np.array([[sum(a * b) for b in target] for a in pool])


@pytest.mark.parametrize("options, count", [({"KEEP": 0.5}, 5), ({"KEEP_NUM": 2}, 2)])
def test_the_nearest_to_any_target_image(pool, run, files, options, count) -> None:
    names, cosines = ranked()
    expected = [names[i] for i in np.argsort(-cosines.max(1))[:count]]
    kept, (done,) = run(pool, {"NAME": "NeighbourFilter", **files, **options})
    assert kept == sorted(expected)
    reasons = {reason["reason"]: reason["images"] for reason in done["dropped"]}
    assert reasons == {f"not among the {count} nearest to the target": 9 - count, "no feature": 1}


@pytest.mark.parametrize("count", [1, 2, 50])
def test_the_nearest_of_each_target_image(pool, run, files, count: int) -> None:
    names, cosines = ranked()
    expected = {names[i] for t in range(T) for i in np.argsort(-cosines[:, t])[:count]}
    kept, _ = run(pool, {"NAME": "NeighbourFilter", **files, "PER_TARGET": count})
    assert kept == sorted(expected)


def test_it_counts_from_the_images_that_reach_it(pool, run, files) -> None:
    names, cosines = ranked()
    kept, _ = run(
        pool,
        {"NAME": "ListFilter", "LIST": _list(pool, names[:4])},
        {"NAME": "NeighbourFilter", **files, "KEEP": 0.5},
    )
    best = np.argsort(-cosines[:4].max(1))[:2]
    assert kept == sorted(names[i] for i in best)


def _list(pool: Path, names: list[str]) -> str:
    file = pool.parent / "some.txt"
    file.write_text("".join(f"{name}\n" for name in names))
    return str(file)


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "one of KEEP, KEEP_NUM and PER_TARGET"),
        ({"KEEP": 0.5, "PER_TARGET": 2}, "one of KEEP, KEEP_NUM and PER_TARGET"),
        ({"PER_TARGET": 0}, "PER_TARGET is 0"),
        ({"KEEP": 1.5}, "keep is 1.5"),
        ({"KEEP": 0.5, "TARGET": "nowhere.npz"}, "nowhere.npz"),
    ],
    ids=str,
)
def test_wrong_options(files, options, message) -> None:
    with pytest.raises(UserError, match=message):
        build_filters([{"NAME": "NeighbourFilter", **files, **options}])


def test_features_of_two_models(tmp_path, pool, run, files) -> None:
    other = tmp_path / "other.npz"
    entry = {"NAME": "NeighbourFilter", **files, "KEEP": 0.5, "TARGET": str(other)}
    write_features(other, FeatureSet(["t.png"], unit(1, 3, dim=7)))
    with pytest.raises(UserError, match=r"features have 7 numbers, .* features 5"):
        run(pool, entry)
    metas = [{"weights_sha256": "a"}, {"weights_sha256": "b"}]
    for file, count, meta in zip((files["FEATURES"], other), (9, 1), metas, strict=True):
        paths = [str(pool / f"{n:02d}.png") for n in range(count)]
        write_features(file, FeatureSet(paths, unit(count, 1), meta=meta))
    with pytest.raises(UserError, match=r"other.npz and .* made with another weights file"):
        run(pool, entry)
