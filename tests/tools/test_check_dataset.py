"""The data set check finds each kind of problem, and nothing where nothing is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reid_commands import check_data as check_dataset
from reid_core.checks.image_facts import look_at, look_at_all
from reid_core.checks.problems import FINDERS


def draw(path: Path, size: tuple[int, int] = (20, 40)) -> Path:
    """Write noise that no other path has; ``size`` is (W, H)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(str(path).encode())).integers(0, 256, (*size[::-1], 3))
    Image.fromarray(noise.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def shop(tmp_path) -> Path:
    """2 training and 2 test identities under 2 cameras; nothing is wrong with it."""
    folder = tmp_path / "shop"
    for identity in "abcd":
        for camera in "12":
            if identity in "ab":
                draw(folder / f"train/{identity}/{camera}/x.jpg")
                draw(folder / f"train/{identity}/{camera}/y.png")
            else:
                draw(folder / f"query/{identity}/{camera}/x.jpg")
                draw(folder / f"gallery/{identity}/{camera}/y.jpg")
    return folder


def check(shop: Path, *arguments: str) -> tuple[int, dict[str, list[str]]]:
    """Run the tool; return its exit status and what it found, by kind."""
    out = shop.parent / "out" / "found.json"
    status = check_dataset.main([f"FolderReID:{shop}", "--json", str(out), *arguments])
    problems = json.loads(out.read_text())["problems"]
    return status, {problem["kind"]: problem["found"] for problem in problems}


def test_nothing_wrong(shop, capsys):
    assert check(shop, "--strict") == (0, {})
    text = capsys.readouterr().out
    assert "nothing found" in text
    rows = json.loads((shop.parent / "out/found.json").read_text())["parts"]
    assert [row["split"] for row in rows] == ["train", "query", "gallery"]
    assert rows[0] == {
        "data set": f"FolderReID:{shop}",
        "split": "train",
        "images": 8,
        "identities": 2,
        "cameras": 2,
        "no camera": 0,
        "views": 0,
        "median size": "20x40",
        "least size": "20x40",
    }


def test_unreadable_files(shop):
    cut = shop / "train/a/1/x.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    (shop / "train/b/1/x.jpg").write_bytes(b"")
    (shop / "gallery/c/1/y.jpg").write_text("no image")
    png = shop / "train/a/1/y.png"
    png.write_bytes(png.read_bytes()[:100] + png.read_bytes()[300:])  # its end is there
    status, found = check(shop)
    assert status == 0, "only --strict makes a failure of it"
    assert list(found) == ["unreadable"]
    lines = dict(line.rsplit(": ", maxsplit=1) for line in found["unreadable"])
    assert any("empty file" in line for line in found["unreadable"])
    assert len(lines) == len(found["unreadable"]) == 4
    assert check(shop, "--strict")[0] == check_dataset.PROBLEMS_FOUND


def test_leak_between_training_and_test(shop):
    shutil.copy(shop / "train/a/1/x.jpg", shop / "gallery/zoe.jpg")
    (shop / "gallery/a/1").mkdir(parents=True)
    (shop / "gallery/zoe.jpg").rename(shop / "gallery/a/1/copy.jpg")
    _, found = check(shop)
    assert set(found) == {"leak", "shared identity"}
    (line,) = found["leak"]
    assert "train/a/1/x.jpg = " in line and line.endswith("gallery/a/1/copy.jpg")
    assert found["shared identity"] == ["shop a"]
    assert next(iter(found)) == "leak", "the worst first"


def test_contradicting_labels_and_duplicates(shop):
    shutil.copy(shop / "train/a/1/x.jpg", shop / "train/b/1/copy.jpg")
    _, found = check(shop)
    assert set(found) == {"contradiction", "duplicate"}
    assert found["contradiction"][0].endswith("(shop a, shop b)")
    shutil.copy(shop / "train/a/1/x.jpg", shop / "train/a/2/again.jpg")
    _, found = check(shop)
    assert len(found["duplicate"]) == 1 and found["duplicate"][0].count(" = ") == 2


def test_queries_in_vain(shop):
    shutil.rmtree(shop / "gallery/c/2")
    shutil.rmtree(shop / "gallery/d")
    _, found = check(shop)
    assert set(found) == {"unmatched query"}
    assert sorted(line.split("/query/")[1] for line in found["unmatched query"]) == [
        "c/1/x.jpg (shop c)",  # only its own camera is left
        "d/1/x.jpg (shop d)",
        "d/2/x.jpg (shop d)",
    ]


def test_query_that_finds_its_own_copy(shop):
    """Under the same camera the evaluation ignores it."""
    shutil.copy(shop / "query/c/1/x.jpg", shop / "gallery/c/1/copy.jpg")
    assert check(shop)[1] == {}
    shutil.copy(shop / "query/c/1/x.jpg", shop / "gallery/c/2/copy.jpg")
    _, found = check(shop)
    assert set(found) == {"query in gallery", "duplicate"}
    (line,) = found["query in gallery"]
    assert line.endswith("gallery/c/2/copy.jpg") and "gallery/c/1" not in line


def test_single_and_tiny_images(shop):
    draw(shop / "train/lone/1/x.jpg")
    draw(shop / "train/a/1/small.png", size=(15, 40))
    _, found = check(shop)
    assert found["single image"] == [f"shop lone: {shop}/train/lone/1/x.jpg"]
    assert found["tiny"] == [f"{shop}/train/a/1/small.png: 15x40"]
    assert "tiny" not in check(shop, "--min-size", "15")[1]
    assert len(check(shop, "--min-size", "21")[1]["tiny"]) == 18


def test_every_kind_of_problem_is_tested():
    text = Path(__file__).read_text()
    assert [kind for kind in FINDERS if f'"{kind}"' not in text] == []


def test_images_without_cameras_and_views(tmp_path, capsys):
    for number in range(4):
        draw(tmp_path / f"{number}.jpg")
    lines = [f"{n}.jpg,{'ab'[n // 2]},{'train' if n < 2 else 'test'},{n}" for n in range(4)]
    (tmp_path / "list.csv").write_text("\n".join(["image,identity,split,view", *lines]))
    assert check_dataset.main([f"CSVReID:{tmp_path}/list.csv", "--strict"]) == 0
    train = next(line for line in capsys.readouterr().out.splitlines() if " train " in line)
    assert [cell.strip() for cell in train.split("|")][3:8] == ["2", "1", "0", "2", "2"]


def test_a_config_and_data_sets_used_together(shop, market_root, tmp_path, monkeypatch, capsys):
    """A test image of one data set among the training images of another."""
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    query = next((market_root / "Market-1501-v15.09.15/query").glob("*.jpg"))
    shutil.copy(query, shop / "train/a/1/market.jpg")
    config = tmp_path / "config.yml"
    config.write_text(
        f'DATASETS:\n  NAMES: ("FolderReID:{shop}",)\n  TESTS: ("Market1501", "ToyReID")\n'
    )
    opts = ["--opts", "DATASETS.TESTS", '("Market1501",)']
    assert check_dataset.main(["--config-file", str(config), "--strict", *opts]) == 1
    text = capsys.readouterr().out
    assert "leak: 1 test images" in text and query.name in text
    splits = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("|")][2:]
    assert [[cell.strip() for cell in row] for row in splits] == [
        [f"FolderReID:{shop}", "train"],
        ["Market1501", "query"],
        ["Market1501", "gallery"],
    ]


def test_few_lines_are_shown(shop, capsys):
    check(shop, "--min-size", "21", "--show", "2")
    lines = capsys.readouterr().out.splitlines()
    assert sum("20x40" in line and "|" not in line for line in lines) == 2
    assert "    and 14 more" in lines


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "name one or more data sets, or a config"),
        (["Market1502"], "Market1502"),
        (["FolderReID:/nowhere"], "no '/nowhere'; give the path of a folder"),
        (["Market1501", "--config-file", "x.yml"], "or a config"),
    ],
)
def test_wrong_command_lines(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        check_dataset.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_report_that_cannot_be_written(shop, capsys):
    (shop.parent / "out").write_text("a file, no folder")
    with pytest.raises(SystemExit):
        check(shop)
    assert "error: cannot write" in capsys.readouterr().err


def test_facts_of_files(tmp_path):
    first, second = draw(tmp_path / "1.jpg", (8, 12)), draw(tmp_path / "2.jpg", (8, 12))
    facts = look_at_all([str(first), str(second), str(first)], num_workers=3)
    assert list(facts) == [str(first), str(second)]
    assert facts[str(first)] == look_at(str(first))
    assert (facts[str(first)].width, facts[str(first)].height) == (8, 12)
    assert facts[str(first)].digest != facts[str(second)].digest
    assert look_at(str(tmp_path / "no.jpg")).fault == "No such file or directory"


@pytest.mark.parametrize(
    ("option", "value", "least"), [("--min-size", -1, 0), ("--show", -2, 0), ("--workers", 0, 1)]
)
def test_a_number_out_of_range_is_refused(option, value, least, shop, capsys):
    with pytest.raises(SystemExit) as error:
        check(shop, option, str(value))
    assert error.value.code == 2
    message = f"error: {option} is {value}; give a whole number of at least {least}\n"
    assert capsys.readouterr().err == message


def test_a_test_set_of_one_camera_cannot_be_evaluated(tmp_path) -> None:
    """No identity has a match under another camera, so that no image is a query."""
    folder = tmp_path / "shop"
    for number in range(4):
        draw(folder / f"test/{number // 2}/{number}_c1_.jpg")
    status, found = check(folder, "--strict")
    assert status == 1
    assert found["no evaluation"] == [f"FolderReID:{folder}: 0 query and 4 gallery images"]
