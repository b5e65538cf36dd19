"""A small model exported for every consumer, a drawn street, and a summary of versions and cosines.

These tests run the consumers' own code, in an environment of their own (`make test-trackers`); they
skip where a consumer is not installed, as everywhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from small_inference import small_cfg, write_config, write_model
from toyreid.people.street import Street
from transreid.deploy.trained import export_trained
from transreid.export.profiles import PROFILES
from transreid.inference.extractor import FeatureExtractor

MEASURED: list[str] = []
Compare = Callable[[str, np.ndarray, list[np.ndarray]], np.ndarray]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Config and weights of a model with 3 cameras, or of yours: CONFIG and WEIGHTS."""
    if os.environ.get("CONFIG"):
        return os.environ["CONFIG"], os.environ["WEIGHTS"]
    folder, cfg = tmp_path_factory.mktemp("model"), small_cfg()
    return write_config(folder, cfg), write_model(folder, cfg)


@pytest.fixture(scope="session")
def files(model: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model exported for each consumer, cameras fixed."""
    folder = tmp_path_factory.mktemp("profiles")
    names = {name: "model.onnx" if name == "triton" else f"{name}.onnx" for name in PROFILES}
    paths = {name: folder / "reid" / "1" / file for name, file in names.items()}
    for name, path in paths.items():
        export_trained(path, *model, profile=name, camera="off")
    return paths


@pytest.fixture(scope="session")
def people() -> tuple[np.ndarray, np.ndarray]:
    """A BGR frame of a drawn street, and boxes (N, 4) of people, x1 y1 x2 y2, whole pixels."""
    sight = Street(people=8, seed=2).frame(90)
    assert len(sight.boxes) >= 3
    return np.ascontiguousarray(sight.picture[..., ::-1]), sight.boxes


@pytest.fixture(scope="session")
def scene(
    people: tuple[np.ndarray, np.ndarray], size: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The frame, and boxes of the model's size, so that nothing is resized."""
    frame, boxes = people
    corners = np.clip(boxes[:, :2], 0, np.array(frame.shape[1::-1]) - size[::-1])
    return frame, np.concatenate([corners, corners + size[::-1]], 1).astype(np.float32)


@pytest.fixture(scope="session")
def cut(scene: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """BGR crops of these boxes."""
    frame, boxes = scene
    return [frame[y1:y2, x1:x2] for x1, y1, x2, y2 in boxes.astype(int)]


@pytest.fixture(scope="session")
def extractor(model: tuple[str, str]) -> FeatureExtractor:
    return FeatureExtractor(*model, device="cpu")


@pytest.fixture(scope="session")
def size(extractor: FeatureExtractor) -> tuple[int, ...]:
    """Height and width that the model takes."""
    return tuple(extractor.cfg.INPUT.SIZE_TEST)


@pytest.fixture(scope="session")
def cosines(extractor: FeatureExtractor) -> Compare:
    """Function of a consumer, its features and its BGR crops: cosines with FeatureExtractor."""

    def compare(consumer: str, features: np.ndarray, crops: list[np.ndarray]) -> np.ndarray:
        expected = extractor([np.ascontiguousarray(crop[..., ::-1]) for crop in crops]).numpy()
        features = np.asarray(features, np.float32)
        assert features.shape == expected.shape
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        found = (features / np.where(lengths > 0, lengths, 1) * expected).sum(1)
        version = metadata.version(re.split("[ ,]", consumer)[0])
        MEASURED.append(f"{consumer} ({version}): least cosine {found.min():.5f}")
        return found

    return compare


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Versions and cosines, for docs/trackers.md."""
    for line in MEASURED:
        terminalreporter.write_line(line)
