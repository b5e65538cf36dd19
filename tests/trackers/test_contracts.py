"""Trackers' own code loads our files and embeds crops; a file of another profile fails there."""

from __future__ import annotations

import importlib
import re
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from transreid.inference.exported_model import OnnxExtractor

LEAST = 0.999  # cosine with FeatureExtractor, where the consumer resizes nothing
RESIZED = 0.99  # where it does: bilinear and without smoothing, which no graph can undo


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip a test, before its fixtures take time, where a consumer is not installed."""
    absent = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"{', '.join(absent)}: make test-trackers")


def centres(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) x1 y1 x2 y2 as x, y of the centre, width, height."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], 1)


def crops_of(frame: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """Crops of a frame."""
    return [frame[y1:y2, x1:x2] for x1, y1, x2, y2 in boxes.astype(int)]


def before_enlarging(boxes: np.ndarray) -> np.ndarray:
    """Boxes that Ultralytics enlarges, by 2% and 10 pixels, to ``boxes``; as centres."""
    rows = centres(boxes)
    rows[:, :2] += 0.3  # whole pixels are cut off
    rows[:, 2:] = (rows[:, 2:] - 10) / 1.02
    return rows


class Embedder:
    """What deep-sort-realtime calls: a raw crop after the other into one graph."""

    def __init__(self, path) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def predict(self, crops: list[np.ndarray]) -> list[np.ndarray]:
        return [self.session.run(None, {"images": crop[None]})[0][0] for crop in crops]


class Graph(torch.nn.Module):
    """What Roboflow's reid calls: images (B, 3, H, W) in, features out."""

    def __init__(self, path) -> None:
        super().__init__()
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, {"images": images.numpy()})[0])


@needs("ultralytics")
@pytest.mark.parametrize("profile", ["ultralytics", "boxmot", "plain"])
def test_ultralytics(profile, files, scene, cut, cosines) -> None:
    reid = importlib.import_module("ultralytics.trackers.utils.reid")
    frame, boxes = scene
    encoder = reid.build_encoder(True, str(files[profile]), "cpu")
    features = np.stack(encoder(frame, before_enlarging(boxes)))
    found = cosines(f"ultralytics with {profile}", features, cut)
    assert (found >= LEAST).all() == (profile == "ultralytics")


@needs("ultralytics")
def test_ultralytics_tracker(files, people, cosines) -> None:
    """BoT-SORT as model.track(tracker="botsort.yaml") makes it, with_reid and model changed."""
    module = importlib.import_module("ultralytics.trackers.bot_sort")
    utils = importlib.import_module("ultralytics.utils")
    checks = importlib.import_module("ultralytics.utils.checks")
    results = importlib.import_module("ultralytics.engine.results")
    settings = utils.YAML.load(checks.check_yaml("botsort.yaml"))
    settings |= {"with_reid": True, "model": str(files["ultralytics"]), "device": "cpu"}
    tracker = module.BOTSORT(SimpleNamespace(**settings))
    frame, boxes = people
    rows = np.concatenate([boxes, np.full((len(boxes), 1), 0.9), np.zeros((len(boxes), 1))], 1)
    detections = results.Boxes(rows.astype(np.float32), frame.shape[:2])
    tracks = tracker.update(detections, frame)
    assert len(tracks) == len(boxes)
    order = [int(track.idx) for track in tracker.tracked_stracks]
    features = np.stack([track.curr_feat for track in tracker.tracked_stracks])
    crops = tracker.encoder._crop_detections(frame, centres(boxes))  # enlarged
    found = cosines("ultralytics BoT-SORT, resizing", features, [crops[i] for i in order])
    assert (found >= RESIZED).all()


@needs("boxmot")
@pytest.mark.parametrize("profile", ["boxmot", "ultralytics", "plain"])
def test_boxmot(profile, files, size, scene, cut, cosines) -> None:
    runtime = importlib.import_module("boxmot.reid.core.runtime")
    frame, boxes = scene
    reid = runtime.ReID(files[profile], device="cpu")
    assert reid.model.input_shape == size
    found = cosines(f"boxmot with {profile}", reid.model.get_features(boxes, frame), cut)
    assert (found >= LEAST).all() == (profile == "boxmot")


@needs("boxmot")
def test_boxmot_reads_the_file_beside(files, size) -> None:
    registry = importlib.import_module("boxmot.reid.core.registry").ReIDModelRegistry
    assert registry.get_model_name(files["boxmot"]) == "transreid"
    assert registry.get_checkpoint_preprocess(files["boxmot"]) == "resize"
    assert registry.get_checkpoint_model_kwargs(files["boxmot"]) == {"img_size": size}


@needs("boxmot")
def test_boxmot_tracker(files, people, cosines) -> None:
    botsort = importlib.import_module("boxmot.trackers.box.botsort.tracker")
    frame, boxes = people
    tracker = botsort.BotSort(reid_weights=files["boxmot"], device="cpu", use_cmc=False)
    rows = np.concatenate([boxes, np.full((len(boxes), 1), 0.9), np.zeros((len(boxes), 1))], 1)
    tracks = np.asarray(tracker.update(rows.astype(np.float32), frame))
    assert len(tracks) == len(boxes)
    order = [int(track.det_ind) for track in tracker.active_tracks]
    features = np.stack([track.curr_feat for track in tracker.active_tracks])
    cut = crops_of(frame, boxes)
    found = cosines("boxmot BoT-SORT, resizing", features, [cut[i] for i in order])
    assert (found >= RESIZED).all()


@needs("deep_sort_realtime")
@pytest.mark.parametrize("profile", ["deepsort", "plain"])
def test_deep_sort_realtime(profile, files, people, cosines) -> None:
    module = importlib.import_module("deep_sort_realtime.deepsort_tracker")
    frame, boxes = people
    tracker = module.DeepSort(embedder=None, n_init=1)
    tracker.embedder = Embedder(files[profile])
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
    detections = [(box, 0.9, "person") for box in corners]
    if profile != "deepsort":
        with pytest.raises(Exception, match="Unexpected input data type"):
            tracker.generate_embeds(frame, detections)
        return
    features = tracker.generate_embeds(frame, detections)
    cut = crops_of(frame, boxes)
    found = cosines("deep-sort-realtime, resizing", np.stack(features), cut)
    assert (found >= LEAST).all()
    assert len(tracker.update_tracks(detections, frame=frame)) == len(boxes)


@needs("reid", "supervision")
@pytest.mark.parametrize("profile", ["boxmot", "ultralytics"])
def test_roboflow_reid(profile, files, size, people, cosines) -> None:
    reid = importlib.import_module("reid")
    sv = importlib.import_module("supervision")
    frame, boxes = people
    metadata = onnxruntime.InferenceSession(str(files[profile])).get_modelmeta()
    kernel = re.findall(r"interpolation=(\w+)", metadata.custom_metadata_map["transform"])[0]
    preprocessing = reid.ReIDPreprocessing(input_size=size, interpolation=kernel)
    model = reid.ReIDModel(Graph(files[profile]), torch.device("cpu"), preprocessing)
    features = model.extract_embeddings(sv.Detections(xyxy=boxes), frame)
    cut = crops_of(frame, boxes)
    found = cosines(f"reid, resizing, with {profile}", features, cut)
    assert (found >= LEAST).all() == (profile == "boxmot")


@needs("supervision", "trackers")
def test_supervision_and_trackers(files, people, cosines) -> None:
    """supervision cuts the crops; the features go through a tracker of Roboflow with the boxes."""
    sv = importlib.import_module("supervision")
    trackers = importlib.import_module("trackers")
    frame, boxes = people
    crops = [sv.crop_image(frame, box) for box in boxes]
    features = OnnxExtractor(files["plain"])([crop[..., ::-1].copy() for crop in crops]).numpy()
    detections = sv.Detections(boxes, confidence=np.full(len(boxes), 0.9, np.float32))
    detections.data["feature"] = features
    tracker = trackers.ByteTrackTracker()
    tracked = [tracker.update(detections) for _ in range(3)][-1]
    assert len({*tracked.tracker_id.tolist()}) == len(boxes)
    order = [int(np.abs(boxes - box).sum(1).argmin()) for box in tracked.xyxy]
    found = cosines("supervision, resizing", tracked.data["feature"], [crops[i] for i in order])
    assert (found >= LEAST).all()


@needs("tritonclient")
def test_triton_understands_the_configuration(files, size) -> None:
    """Triton's own definition of config.pbtxt reads ours (the server itself: not run)."""
    pb2 = importlib.import_module("tritonclient.grpc.model_config_pb2")
    text_format = importlib.import_module("google.protobuf.text_format")
    text = (files["triton"].parents[1] / "config.pbtxt").read_text()
    config = text_format.Parse(text, pb2.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("reid", "onnxruntime", 64)
    assert [list(tensor.dims) for tensor in config.input] == [[3, *size]]
    assert config.output[0].name == "features"
