"""examples/track_video.py from a drawn street, and from a video with files of the MOT challenge."""

from __future__ import annotations

import csv
import importlib.util
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from toyreid.people.street import Street

EXAMPLE = Path(__file__).parents[2] / "examples" / "track_video.py"
needs_trackers = pytest.mark.skipif(find_spec("trackers") is None, reason="make test-trackers")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("track_video", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for dataclasses
    spec.loader.exec_module(module)
    return module


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@needs_trackers
def test_a_drawn_street_and_the_same_as_a_video(example, files, tmp_path, capsys) -> None:
    words = ["--weights", str(files["plain"]), "--frames", "24", "--clip", "12", "--join", "2"]
    assert example.main(["-o", str(tmp_path / "drawn"), *words]) == 0
    printed = capsys.readouterr().out
    assert "SYNTHETIC" in printed
    alone, joined = (line.partition(":")[2].strip() for line in printed.splitlines()[1:3])
    assert "IDF1" in alone and alone == joined, "no cosine is 2"
    rows = read(tmp_path / "drawn" / "tracks.csv")
    tracks = {row["track"]: row["person"] for row in rows}
    assert len(tracks) >= 3 and len(set(tracks.values())) == len(tracks)

    street, lines, truth = Street(people=10), [], []
    clip = str(tmp_path / "street.mp4")
    video = cv2.VideoWriter(clip, cv2.VideoWriter.fourcc(*"mp4v"), 20, (640, 480))
    for number in range(24):
        sight = street.frame(number)
        video.write(np.ascontiguousarray(sight.picture[..., ::-1]))
        boxes, scores = street.detections(number, sight.boxes)
        corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        for box, score in zip(corners, scores, strict=True):
            lines.append(",".join(map(str, [number + 1, -1, *box, score])))
        whole = np.concatenate([sight.boxes[:, :2], sight.boxes[:, 2:] - sight.boxes[:, :2]], 1)
        for box, who in zip(whole, sight.ids, strict=True):
            truth.append(",".join(map(str, [number + 1, who, *box, 1])))
    video.release()
    (tmp_path / "det.txt").write_text("\n".join(lines))
    (tmp_path / "gt.txt").write_text("\n".join(truth))
    given = ["--video", clip, "--boxes", tmp_path / "det.txt", "--truth", tmp_path / "gt.txt"]
    assert example.main(["-o", str(tmp_path / "filmed"), *words, *map(str, given)]) == 0
    assert alone in capsys.readouterr().out, "the same boxes"
    written = cv2.VideoCapture(str(tmp_path / "filmed" / "clip.mp4"))
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 12


@needs_trackers
@pytest.mark.parametrize(
    "words, message",
    [
        (["--video", "a.mp4"], "--boxes is missing"),
        (["--video", "a.mp4", "--boxes", "absent.txt"], "'absent.txt' is no file of boxes"),
    ],
)
def test_bad_requests(words, message, example, files, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        example.main(["-o", str(tmp_path), "--weights", str(files["plain"]), *words])
    assert message in capsys.readouterr().err
