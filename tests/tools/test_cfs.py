"""tools/cfs_scores.py: score, inspect, plot and select, and the package that its name hides."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cfs.scores import pictures as cfs_pictures
from cfs.scores.reading import read_scores
from cfs.scores.shards import ScoreShards, read_meta
from dinopretrain.data.listing import read_list
from PIL import Image
from reid_commands import scores as cfs_commands
from reid_common.pictures import Tile
from small_inference import write_bad_images
from small_scoring import NUM_IMAGES, vit_cfg, write_pool, write_weights

ROOT = Path(__file__).parents[2]
SCORED = {"d.jpg": 0.5, "a.jpg": 0.25, "c.jpg": 0.5, "b.jpg": 0.75, "bad.jpg": float("nan")}
BEST_FIRST = ["b.jpg", "c.jpg", "d.jpg", "a.jpg"]  # c and d have one score


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """Config, weights and images."""
    folder = tmp_path_factory.mktemp("files")
    cfg = vit_cfg()
    (folder / "config.yaml").write_text(cfg.dump())
    write_bad_images(write_pool(folder / "pool") / "images")
    return {
        "config": str(folder / "config.yaml"),
        "source": write_weights(folder / "source.pth", cfg, 0),
        "target": write_weights(folder / "target.pth", cfg, 0, moved=0.02),
        "pool": str(folder / "pool"),
    }


def score_words(files: dict[str, str], out: Path, *more: str) -> list[str]:
    words = ["score", "--source-weights", files["source"], "--target-weights", files["target"]]
    words += ["--config-file", files["config"], "--images", files["pool"], "--out", str(out)]
    return [*words, "--device", "cpu", "--num-workers", "0", *more]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Scores of five images, in two shards."""
    shards = ScoreShards(tmp_path / "scores", {"count": 5, "shard_size": 3, "dataset": ["none"]})
    shards.prepare()
    names, values = list(SCORED), np.array(list(SCORED.values()), np.float32)
    for number, rows in shards.ranges():
        reasons = ["empty file" if np.isnan(values[i]) else None for i in rows]
        shards.write(number, [names[i] for i in rows], values[rows.start : rows.stop], reasons)
    return shards.folder


def refused(words: list[str], capsys) -> str:
    """The message of a command that fails as bad input does."""
    with pytest.raises(SystemExit) as end:
        cfs_commands.main(words)
    assert end.value.code == 2
    return capsys.readouterr().err


def select(folder: Path, out: Path, *words: str) -> list[str]:
    assert cfs_commands.main(["select", "--scores", str(folder), "--out", str(out), *words]) == 0
    return [line for line in out.read_text().splitlines() if line]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], 4),
        (["--keep", "1"], 4),
        (["--keep", "0.5"], 2),
        (["--keep", "0"], 0),
        (["--keep-num", "3"], 3),
        (["--keep-num", "0"], 0),
        (["--keep-num", "9"], 4),
    ],
)
def test_select(words, count, folder, tmp_path) -> None:
    assert select(folder, tmp_path / "list.txt", *words) == BEST_FIRST[:count]


def test_select_writes_the_released_format(folder, tmp_path, capsys) -> None:
    out = tmp_path / "CFS_list.pkl"
    words = ["select", "--scores", str(folder), "--keep-num", "3", "--out", str(out)]
    assert cfs_commands.main(words) == 0
    assert pickle.loads(out.read_bytes()) == BEST_FIRST[:3] == list(read_list(str(out)))
    assert "3 of 4 images with a score, down to a score of 0.5000" in capsys.readouterr().out


def test_select_refuses(folder, tmp_path, capsys) -> None:
    words = ["select", "--scores", str(folder), "--out", str(tmp_path / "list.txt")]
    assert "fraction from 0 to 1" in refused([*words, "--keep", "50"], capsys)
    both = [*words, "--keep", "0.5", "--keep-num", "2"]
    assert "leave one of them out" in refused(both, capsys)
    assert "is no list" in refused([*words[:-1], "list.csv"], capsys)
    (folder / "part-00001.parquet").unlink()
    assert "1 of 2 shards are missing" in refused(words, capsys)
    assert not (tmp_path / "list.txt").exists()


def test_inspect(folder, capsys) -> None:
    assert cfs_commands.main(["inspect", "--scores", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "5 images, 1 of them bad, mean score 0.5000" in text
    assert "1 bad: empty file" in text
    assert "| 50%        |  0.5000 |" in text
    assert "| (none)   |        5 |       0.5000 |" in text


def test_score_inspect_plot_select(files, tmp_path, capsys) -> None:
    scores, pictures = tmp_path / "scores", tmp_path / "pictures"
    assert cfs_commands.main(score_words(files, scores, "--shard-size", "4")) == 0
    assert f"{NUM_IMAGES + 3} images, 3 of them bad" in capsys.readouterr().out
    found = read_scores(str(scores))
    assert read_meta(scores)["dataset"] == [f"ImageFolder:{files['pool']}"]
    words = ["plot", "--scores", str(scores), "--out", str(pictures), "--number", "4"]
    assert cfs_commands.main([*words, "--target-images", files["pool"]]) == 0
    sizes = {path.name: Image.open(path).size for path in pictures.iterdir()}
    assert sizes.keys() == {"histogram.png", "images.png"}
    chosen = select(scores, tmp_path / "list.txt", "--keep", "0.5")
    good = np.flatnonzero(np.isfinite(found.values))
    ranked = sorted(good, key=lambda i: -found.values[i])
    assert chosen == [found.names[int(i)] for i in ranked[:6]]  # 5.5, rounded up
    assert all((Path(files["pool"]) / "images" / name).is_file() for name in chosen)


def test_sheets_show_the_best_the_middle_and_the_worst(files, tmp_path, monkeypatch) -> None:
    drawn: dict[str, list[Tile]] = {}
    monkeypatch.setattr(cfs_pictures, "draw_sheets", lambda sheets, *_: drawn.update(sheets))
    scores = tmp_path / "scores"
    cfs_commands.main(score_words(files, scores))
    words = ["plot", "--scores", str(scores), "--out", str(tmp_path), "--number", "3"]
    cfs_commands.main([*words, "--target-images", files["pool"]])
    found = read_scores(str(scores)).values
    values = np.sort(found[np.isfinite(found)])[::-1]
    captions = {title: [tile.caption for tile in tiles] for title, tiles in drawn.items()}
    assert list(captions) == ["highest scores", "middle scores", "lowest scores", "target"]
    assert captions["highest scores"] == [f"{value:.3f}" for value in values[:3]]
    assert captions["middle scores"] == [f"{value:.3f}" for value in values[4:7]]  # of 11
    assert captions["lowest scores"] == [f"{value:.3f}" for value in values[-3:]]
    assert [len(tiles) for tiles in drawn.values()] == [3, 3, 3, 3]


def test_plot_refuses_other_images(files, folder, tmp_path, capsys) -> None:
    scores = tmp_path / "real"
    cfs_commands.main(score_words(files, scores))
    other = write_pool(tmp_path / "other", 3)
    words = ["plot", "--scores", str(scores), "--out", str(tmp_path)]
    assert "3 images are not the 14 that were scored" in refused(
        [*words, "--images", str(other)], capsys
    )


def test_score_refuses(files, tmp_path, capsys) -> None:
    words = score_words(files, tmp_path / "scores")
    cfs_commands.main(words)
    other = [*words, "MODEL.PIXEL_MEAN", "[1.0, 2.0, 3.0]"]
    assert "another config of the source model" in refused(other, capsys)
    assert "leave one of them out" in refused([*words, "--dataset", "ToyReID"], capsys)
    nothing = [word for word in words if word not in ("--images", files["pool"])]
    assert "no data set is named" in refused([*nothing, "DATASETS.NAMES", "()"], capsys)


def test_sheets_stand_beside_each_other(tmp_path, figures) -> None:
    """Tall and wide images keep their proportions; titles are above the first column of each."""
    wide, tall = np.zeros((10, 20, 3), np.uint8), np.zeros((40, 20, 3), np.uint8)
    sheets = {"one": [Tile(wide, "a"), Tile(tall, "b"), Tile(wide, "c")], "two": [Tile(tall)]}
    cfs_pictures.draw_sheets(sheets, tmp_path / "sheets.png", columns=2)
    (axis,) = figures[0].axes
    texts = {text.get_text(): text.get_position() for text in axis.texts}
    assert list(texts) == ["a", "b", "", "c", "one", "two"]
    assert texts["a"][0] == texts["c"][0] == texts["one"][0] < texts["b"][0] < texts["two"][0]
    assert texts["one"][1] == texts["two"][1] < texts["a"][1] < texts["c"][1]
    assert [image.get_array().shape[:2] for image in axis.images] == [
        *((10, 20), (40, 20), (40, 20), (10, 20))
    ]
    for image in axis.images:
        left, right, bottom, top = image.get_extent()
        height, width = image.get_array().shape[:2]
        assert (bottom - top) / (right - left) == pytest.approx(height / width)


def test_the_tool_hides_no_package(tmp_path) -> None:
    """``tools`` comes first on the path of every tool: none of them is called like a package."""
    names = {path.stem for path in (ROOT / "tools").rglob("*.py")}
    assert not names & {path.name for path in ROOT.glob("projects/*/*") if path.is_dir()}
    help_text = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "cfs_scores.py"), "select", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "--keep-num" in help_text.stdout, help_text.stderr
