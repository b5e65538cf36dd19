"""Each filter on small pictures, how filters compose, and what they write down."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from cfs.filters import FILTER_REGISTRY, DataFilter, Drop
from cfs.filters.duplicate_filter import first_of_similar
from filter_pictures import write_picture
from person_pictures import picture
from PIL import Image

ALL = [f"{number:02d}.png" for number in range(10)]


def reasons(done: dict) -> dict[str, int]:
    return {reason["reason"]: reason["images"] for reason in done["dropped"]}


@pytest.mark.parametrize(
    "options, kept, reason",
    [
        ({"MIN_HEIGHT": 64}, ["a", "b", "d"], "height below 64 pixels"),
        ({"MAX_HEIGHT": 64}, ["b", "c"], "height above 64 pixels"),
        ({"MIN_WIDTH": 33}, ["a", "c", "d"], "width below 33 pixels"),
        ({"MAX_WIDTH": 60}, ["b", "d"], "width above 60 pixels"),
        ({"MIN_PIXELS": 64 * 32 + 1}, ["a", "c", "d"], "height times width below 2049 pixels"),
        ({"MAX_PIXELS": 64 * 32}, ["b"], "height times width above 2048 pixels"),
    ],
    ids=str,
)
def test_resolution(tmp_path, run, options, kept, reason) -> None:
    folder = tmp_path / "sizes"
    folder.mkdir()
    for name, size in {"a": (128, 64), "b": (64, 32), "c": (40, 80), "d": (100, 50)}.items():
        write_picture(folder / f"{name}.png", picture(*size, 1))
    names, (done,) = run(folder, {"NAME": "ResolutionFilter", **options})
    assert names == [f"{name}.png" for name in kept]
    assert reasons(done) == {reason: 4 - len(kept)}


def test_a_header_is_enough_and_turned_upright(tmp_path, run) -> None:
    """A file that is cut off behind its header still has a size; EXIF 6 lies on its side."""
    folder = tmp_path / "headers"
    folder.mkdir()
    write_picture(tmp_path / "whole.jpg", picture(64, 32, 1))
    (folder / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(32, 64, 1)).save(folder / "turned.jpg", exif=exif)
    names, _ = run(folder, {"NAME": "ResolutionFilter", "MIN_HEIGHT": 64, "MAX_WIDTH": 32})
    assert names == ["cut.jpg", "turned.jpg"]


def test_aspect_ratio(tmp_path, run) -> None:
    folder = tmp_path / "ratios"
    folder.mkdir()
    for name, size in {"1.0": (40, 40), "2.0": (64, 32), "3.0": (96, 32), "4.0": (96, 24)}.items():
        write_picture(folder / f"{name}.png", picture(*size, 1))
    names, (done,) = run(folder, {"NAME": "AspectRatioFilter", "MIN": 2.0, "MAX": 3})
    assert names == ["2.0.png", "3.0.png"]
    assert reasons(done) == {"height / width below 2.0": 1, "height / width above 3": 1}
    assert done["dropped"][0]["examples"][0]["detail"] == "1.000"


def test_blur(pool, run) -> None:
    for name in ("02.png", "07.png"):
        blurred = cv2.GaussianBlur(cv2.imread(str(pool / name)), (0, 0), 5)
        cv2.imwrite(str(pool / name), blurred)
    names, (done,) = run(pool, {"NAME": "BlurFilter", "MIN": 20, "SIZE": [64, 32]})
    assert names == [name for name in ALL if name not in ("02.png", "07.png")]
    assert reasons(done) == {"sharpness below 20": 2}


def test_the_size_of_an_image_does_not_make_it_sharp(tmp_path, run) -> None:
    """Four times as large: another variance as it is, about the same at one size."""
    folder = tmp_path / "scales"
    folder.mkdir()
    small = picture(128, 64, 3)
    write_picture(folder / "a.png", small)
    write_picture(folder / "b.png", small.repeat(4, axis=0).repeat(4, axis=1))
    names, _ = run(folder, {"NAME": "BlurFilter", "MIN": 0})
    assert names == ["a.png", "b.png"]
    (shard,) = (tmp_path / "cache/sharpness-1-128x64").glob("*.npz")
    first, second = np.load(shard)["values"][:, 0]
    assert second == pytest.approx(first, rel=0.02)


def test_the_first_of_duplicates_stays(pool, run) -> None:
    original = picture(64, 32, 3)
    write_picture(pool / "10.png", np.clip(original.astype(int) + 6, 0, 255).astype(np.uint8))
    Image.fromarray(original).save(pool / "11.jpg", quality=80)
    write_picture(pool / "12.png", picture(64, 32, 99))
    (pool / "00a.png").write_bytes((pool / "00.png").read_bytes())
    names, (done,) = run(pool, {"NAME": "DuplicateFilter"})
    assert names == [*ALL, "12.png"]
    (reason,) = done["dropped"]
    assert reason["images"] == 3
    assert f"of {pool}/00.png, distance 0" in [x["detail"] for x in reason["examples"]]


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 4, 5, 6, 7, 8])
def test_duplicates_equal_a_search_of_all_pairs(distance) -> None:
    """Clusters of hashes around 60 centres, in more than one block of the search."""
    rng = np.random.default_rng(distance)
    centres = rng.integers(0, 2**64, 60, dtype=np.uint64)
    hashes = centres[rng.integers(0, 60, 2500)]
    for _ in range(6):
        flips = np.uint64(1) << rng.integers(0, 64, 2500, dtype=np.uint64)
        hashes = np.where(rng.random(2500) < 0.6, hashes ^ flips, hashes)
    expected: list[int] = []
    kept: list[int] = []
    seen: dict[int, int] = {}
    for i, one in enumerate(hashes.tolist()):
        if one in seen:
            expected.append(seen[one])
            continue
        near = [((one ^ int(hashes[k])).bit_count(), k) for k in kept]
        near = [x for x in near if x[0] <= distance]
        expected.append(min(near)[1] if near else i)
        seen[one] = expected[-1]
        if not near:
            kept.append(i)
    assert 60 <= len(kept) < 2500
    assert first_of_similar(hashes, distance).tolist() == expected


def test_filters_compose_in_order_and_each_sees_what_is_left(pool, run, tmp_path) -> None:
    (tmp_path / "ranked.txt").write_text("\n".join(ALL))
    (tmp_path / "no.txt").write_text("00.png\n01.png\n")
    without = {"NAME": "ListFilter", "LIST": str(tmp_path / "no.txt"), "EXCLUDE": True}
    best = {"NAME": "CFSFilter", "SCORES": str(tmp_path / "ranked.txt"), "KEEP": 0.5}
    names, done = run(pool, without, best)
    assert names == ALL[2:6]  # half of the eight that are left
    assert [(one["images"], one["kept"]) for one in done] == [(10, 8), (8, 4)]
    names, done = run(pool, best, without)
    assert names == ALL[2:5]
    assert [(one["images"], one["kept"]) for one in done] == [(10, 5), (5, 3)]


def test_everything_is_written_down(pool, run, tmp_path) -> None:
    (pool / "05.png").write_bytes(b"")
    (tmp_path / "no.txt").write_text("00.png\n")
    run(
        pool,
        {"NAME": "ListFilter", "LIST": str(tmp_path / "no.txt"), "EXCLUDE": True},
        {"NAME": "BlurFilter", "MIN": 0},
    )
    summary = json.loads((tmp_path / "out/filters_summary.json").read_text())
    assert (summary["images"], summary["kept"]) == (10, 8)
    assert summary["examples_kept"] == [str(pool / name) for name in ALL[1:4]]
    assert [one["filter"] for one in summary["filters"]] == ["ListFilter", "BlurFilter"]
    assert summary["filters"][1]["options"] == {"MIN": 0}
    with open(tmp_path / "out/filters_dropped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {
            "image": str(pool / "00.png"),
            "filter": "ListFilter",
            "reason": "in the list no.txt",
            "detail": "",
        },
        {
            "image": str(pool / "05.png"),
            "filter": "BlurFilter",
            "reason": "unreadable image",
            "detail": "empty file",
        },
    ]
    page = (tmp_path / "out/filters_summary.md").read_text()
    assert "8 of 10 images are kept" in page
    assert "in the list no.txt" in page and str(pool / "05.png") in page


def test_the_input_order_is_kept(pool, run, tmp_path) -> None:
    """Scores choose; they do not sort the training set."""
    (tmp_path / "ranked.txt").write_text("\n".join(ALL[::-1]))
    ranked = str(tmp_path / "ranked.txt")
    names, _ = run(pool, {"NAME": "CFSFilter", "SCORES": ranked, "KEEP_NUM": 3})
    assert names == ALL[7:]


def test_a_filter_of_ones_own_is_a_class(pool, run) -> None:
    @FILTER_REGISTRY.register()
    class OddFilter(DataFilter):
        def __init__(self, remainder: int = 1) -> None:
            self.remainder = remainder

        def judge(self, items, row):
            number = int(Path(items.name(row)).stem)
            return None if number % 2 == self.remainder else Drop("even", str(number))

    try:
        names, (done,) = run(pool, {"NAME": "OddFilter"})
    finally:
        del FILTER_REGISTRY._obj_map["OddFilter"]
    assert names == ALL[1::2]
    assert reasons(done) == {"even": 5}
