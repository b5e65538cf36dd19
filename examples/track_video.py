#!/usr/bin/env python3
"""A tracker with and without ReID on a video: IDF1, ID switches, and a short annotated clip.

python examples/track_video.py -o out --weights model_final.pth --config-file config.yaml
python examples/track_video.py -o out --weights reid.onnx --video street.mp4 --boxes det.txt

Without --video a street with people of ToyReID's world is drawn: SYNTHETIC, so that its figures say
nothing about photographs. The tracker is ByteTrack of Roboflow's trackers (Apache-2.0; pip install
trackers), which knows boxes alone; its tracks are then joined by their mean features, behind the
gates of `transreid search --tracklets`. BOXES and TRUTH are files of the MOT challenge:
frame,id,left,top,width,height,confidence,... with frames from 1 on.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from reid_common.errors import UserError
from reid_core.data.tracklets import Seen, Tracklets
from reid_core.run.command_line import show_user_errors
from toyreid.people.street import Street
from tqdm import tqdm
from transreid import FeatureExtractor
from transreid.inference.exported_model import OnnxExtractor
from transreid.inference.feature_files import FeatureSet
from transreid.inference.tracks import Gates, apart, join_tracks, mean_tracks


@dataclass
class Frame:
    """One frame: the picture (H, W, 3) RGB, boxes (N, 4) x1 y1 x2 y2 and what is known of them."""

    picture: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    truth: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    truth_ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = lines.add_argument
    add("-o", "--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--weights", required=True, metavar="FILE", help="checkpoint, or .onnx of --profile plain")
    add("--config-file", metavar="YAML", help="of the checkpoint")
    add("--video", metavar="FILE", help="video; left out: a drawn street")
    add("--boxes", metavar="TXT", help="detector's boxes of the video")
    add("--truth", metavar="TXT", help="true boxes of the video: without them there are no metrics")
    add("--frames", type=int, default=400, metavar="N", help="frames at most (400)")
    add("--every", type=int, default=4, metavar="N", help="embed the boxes of each Nth frame (4)")
    add("--join", type=float, default=0.7, metavar="COSINE", help="of one person (0.7)")
    add("--max-gap", type=float, metavar="FRAMES", help="greatest gap between tracks (any)")
    add("--clip", type=int, default=150, metavar="N", help="frames of clip.mp4; 0: none (150)")
    add("--seed", type=int, default=0, help="of the drawn street (0)")
    return lines


def drawn(args: argparse.Namespace) -> Iterator[Frame]:
    """Frames of a drawn street."""
    street = Street(people=10, seed=args.seed)
    for number in range(args.frames):
        sight = street.frame(number)
        found = street.detections(number, sight.boxes)
        yield Frame(sight.picture, *found, sight.boxes, sight.ids)


def mot_rows(path: str | None) -> dict[int, np.ndarray]:
    """Rows of a file of the MOT challenge by frame, from 1 on: id, x1, y1, x2, y2, confidence."""
    if path is None:
        return {}
    try:
        rows = np.loadtxt(path, delimiter=",", ndmin=2, usecols=range(7))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path!r} is no file of boxes ({error}); write frame,id,left,top,width,height,"
            "confidence a line"
        ) from error
    rows[:, 4:6] += rows[:, 2:4]
    return {int(frame): rows[rows[:, 0] == frame, 1:] for frame in np.unique(rows[:, 0])}


def filmed(args: argparse.Namespace) -> Iterator[Frame]:
    """Frames of a video."""
    if not args.boxes:
        raise UserError("--boxes is missing: the file with the detector's boxes of --video")
    boxes, truth, nothing = mot_rows(args.boxes), mot_rows(args.truth), np.empty((0, 6))
    video = cv2.VideoCapture(args.video)
    for number in range(1, args.frames + 1):
        read, picture = video.read()
        if not read and number == 1:
            raise UserError(f"{args.video!r} is no video that OpenCV can read; check the path")
        if not read:
            return
        found, true = boxes.get(number, nothing), truth.get(number, nothing)
        rgb = np.ascontiguousarray(picture[..., ::-1])
        yield Frame(rgb, found[:, 1:5], found[:, 5], true[:, 1:5], true[:, 0].astype(np.int64))


class Tracks:
    """What a tracker gave, frame by frame, and the features of its tracks."""

    def __init__(self, extract: Callable[[list[np.ndarray]], Any], every: int) -> None:
        import supervision
        import trackers

        self.detections = supervision.Detections
        self.tracker = trackers.ByteTrackTracker()
        self.extract, self.every = extract, every
        self.boxes: list[np.ndarray] = []
        self.ids: list[np.ndarray] = []
        self.features: dict[int, list[np.ndarray]] = defaultdict(list)

    def follow(self, frame: Frame) -> None:
        """Take the next frame."""
        given = self.detections(frame.boxes.astype(np.float32), confidence=frame.scores)
        found = self.tracker.update(given)
        confirmed = found.tracker_id >= 0
        boxes, ids = found.xyxy[confirmed], found.tracker_id[confirmed]
        if len(self.boxes) % self.every == 0 and len(ids):
            rows = self.extract([crop(frame.picture, box) for box in boxes]).numpy()
            for number, row in zip(ids.tolist(), rows, strict=True):
                self.features[number].append(row)
        self.boxes.append(boxes)
        self.ids.append(ids)

    def joined(self, least: float, max_gap: float | None) -> list[np.ndarray]:
        """Numbers of persons instead of tracks, frame by frame."""
        seen = {n: Seen(i, str(n), "video") for i, n in enumerate(sorted(self.features))}
        for time, ids in enumerate(self.ids):
            for track in (seen[n] for n in ids.tolist() if n in seen):
                track.first, track.last = min(track.first, time), max(track.last, time)
        rows = [row for number in seen for row in self.features[number]]
        of_image = np.repeat(range(len(seen)), [len(self.features[n]) for n in seen])
        images = FeatureSet([""] * len(rows), np.stack(rows))
        tracks, sides = [*seen.values()], ([*seen.values()],) * 2
        means = mean_tracks(images, Tracklets(of_image, seen=tracks))
        persons = join_tracks(means, Gates(max_gap).pairs(*sides), apart(*sides), least)
        numbers = dict(zip(seen, persons.tolist(), strict=True))
        # Too short to be embedded: a number of its own.
        return [
            np.array([numbers.get(n, 10_000 + n) for n in ids.tolist()], np.int64)
            for ids in self.ids
        ]


def crop(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """What a box (4,) holds of a picture; one pixel at least."""
    height, width = picture.shape[:2]
    x1, y1 = np.clip(np.floor(box[:2]), 0, (width - 1, height - 1)).astype(int)
    x2, y2 = np.maximum(np.ceil(box[2:]), (x1 + 1, y1 + 1)).astype(int)
    return np.ascontiguousarray(picture[y1:y2, x1:x2])


def metrics(frames: list[Frame], boxes: list[np.ndarray], ids: list[np.ndarray]) -> str:
    """IDF1 and identity switches of tracks, by the trackers package."""
    from trackers.eval.box import box_iou
    from trackers.eval.clear import compute_clear_metrics
    from trackers.eval.identity import compute_identity_metrics

    truth = [frame.truth_ids for frame in frames]
    overlaps = [
        box_iou(frame.truth, found, box_format="xyxy")
        for frame, found in zip(frames, boxes, strict=True)
    ]
    identity = compute_identity_metrics(truth, ids, overlaps)
    clear = compute_clear_metrics(truth, ids, overlaps)
    count = len(np.unique(np.concatenate(ids)))
    return f"IDF1 {identity['IDF1']:.3f}, {clear['IDSW']} ID switches, {count} numbers given"


def write_clip(path: Path, frames: list[Frame], tracks: Tracks, ids: list[np.ndarray]) -> None:
    """Boxes with the numbers of persons, coloured by them."""
    height, width = frames[0].picture.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20, (width, height))
    for frame, boxes, numbers in zip(frames, tracks.boxes, ids, strict=False):
        picture = np.ascontiguousarray(frame.picture[..., ::-1])
        for (x1, y1, x2, y2), number in zip(boxes.astype(int).tolist(), numbers, strict=True):
            colour = np.random.default_rng(int(number)).integers(60, 256, 3).tolist()
            cv2.rectangle(picture, (x1, y1), (x2, y2), colour, 2)
            cv2.putText(
                picture, str(number), (x1, y1 - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 2
            )
        writer.write(picture)
    writer.release()


@show_user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = parser().parse_args(argv)
    if args.weights.endswith(".onnx"):
        extract: Callable[[list[np.ndarray]], Any] = OnnxExtractor(args.weights)
    elif args.config_file:
        extract = FeatureExtractor(args.config_file, args.weights, global_only=True)
    else:
        raise UserError("--config-file is missing: the YAML that the model was trained with")
    try:
        tracks = Tracks(extract, args.every)
    except ImportError as error:
        raise UserError(f"{error}; install the tracker with: pip install trackers") from error
    frames = []
    for frame in tqdm(filmed(args) if args.video else drawn(args), total=args.frames):
        tracks.follow(frame)
        if len(frames) >= args.clip:
            frame.picture = frame.picture[:0]  # memory
        frames.append(frame)
    if not tracks.features:
        raise UserError(
            "the tracker found no track; are there boxes with confidences of 0.7 or more?"
        )
    persons = tracks.joined(args.join, args.max_gap)
    print("a SYNTHETIC, drawn street" if not args.video else args.video)
    if any(len(frame.truth_ids) for frame in frames):
        print(f"ByteTrack alone:    {metrics(frames, tracks.boxes, tracks.ids)}")
        print(f"joined by ReID:     {metrics(frames, tracks.boxes, persons)}")
    args.out.mkdir(parents=True, exist_ok=True)
    rows = ["frame,track,person,x1,y1,x2,y2"]
    for number, ids in enumerate(tracks.ids):
        given = zip(ids, persons[number], tracks.boxes[number].tolist(), strict=True)
        for track, person, box in given:
            rows.append(f"{number + 1},{track},{person}," + ",".join(f"{x:.1f}" for x in box))
    (args.out / "tracks.csv").write_text("\n".join(rows) + "\n")
    if args.clip:
        write_clip(args.out / "clip.mp4", frames[: args.clip], tracks, persons)
    print(f"{args.out}/: tracks.csv" + (", clip.mp4" if args.clip else ""))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
