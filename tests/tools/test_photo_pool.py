"""A pool of photographs with hidden truth, here of drawn pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from filter_pictures import write_picture
from person_pictures import picture
from PIL import Image
from reid_commands.studies import photo_pool
from reid_commands.studies.photo_pool import main
from reid_core.data.opening import open_dataset
from synthetic import write_market


@pytest.fixture
def sources(tmp_path: Path, monkeypatch) -> dict[str, Path]:
    write_market(tmp_path / "root", num_train_ids=8, num_test_ids=2, size=(128, 64))
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "root"))
    folders = {name: tmp_path / name for name in ("con", "things")}
    for number, folder in enumerate(folders.values()):
        (folder / "deep").mkdir(parents=True)
        for i in range(5):
            write_picture(folder / "deep" / f"{i}.png", picture(60, 50, 10 * number + i))
    return folders


def arguments(out: Path, sources: dict[str, Path], *more: str) -> list[str]:
    others = ["--others", f"{sources['con']}:3", "--no-person", f"{sources['things']}:2"]
    kinds = ["--persons", "6", "--cropped", "3", "--low-resolution", "2"]
    domain = ["--domain", "Market1501", "--without", "Market1501:identities=3"]
    return ["-o", str(out), *domain, *kinds, *others, *more]


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "truth.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_kinds_sizes_and_identities(tmp_path, sources, monkeypatch) -> None:
    used = []
    original = photo_pool._write

    def recording(out, pictures, seed, number):
        used.append(pictures[number])
        original(out, pictures, seed, number)

    monkeypatch.setattr(photo_pool, "_write", recording)
    out = tmp_path / "pool"
    assert main(arguments(out, sources)) == 0
    truth = rows(out)
    assert [row["name"] for row in truth] == sorted(p.name for p in (out / "images").iterdir())
    kinds = [row["kind"] for row in truth]
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counts == dict(person=6, cropped=3, low_resolution=2, other_domain=3, no_person=2)
    assert kinds != sorted(kinds)  # the order tells nothing
    target = {item[0] for item in open_dataset("Market1501:identities=3").train}
    assert not target & {file for file, _, _ in used}
    for row in truth:
        size = Image.open(out / "images" / row["name"]).size
        if row["kind"] == "low_resolution":
            assert size == (64, 128) or size[1] < 30
        elif row["kind"] == "person":
            assert size == (64, 128) and row["source"] == "Market1501"
        elif row["kind"] == "cropped":
            assert size[0] < 64 or size[1] < 128
        else:
            assert size == (50, 60)


def test_the_same_seed_gives_the_same_files(tmp_path, sources) -> None:
    pools = [tmp_path / name for name in ("a", "b", "c")]
    for pool, seed in zip(pools, ("1", "1", "2"), strict=True):
        assert main(arguments(pool, sources, "--seed", seed)) == 0
    contents = [
        {path.name: path.read_bytes() for path in (pool / "images").iterdir()} for pool in pools
    ]
    assert contents[0] == contents[1] and contents[0] != contents[2]
    assert rows(pools[0]) == rows(pools[1])


@pytest.mark.parametrize(
    "more, message",
    [
        (["--persons", "100"], "has 30 images, not 105"),
        (["--no-person", "nowhere:3"], "nowhere has 0 images, not 3"),
        (["--no-person", "nowhere"], "is no FOLDER:NUMBER"),
        (["--domain", "Market1502"], "Market1501"),
        (["--cropped", "-1"], "'-1' is no number of images"),
    ],
    ids=str,
)
def test_what_cannot_be_made(tmp_path, sources, capsys, more, message) -> None:
    with pytest.raises(SystemExit):
        main(arguments(tmp_path / "pool", sources, *more))
    assert message in capsys.readouterr().err
    assert not (tmp_path / "pool").exists()


def test_a_pool_is_not_overwritten(tmp_path, sources, capsys) -> None:
    assert main(arguments(tmp_path / "pool", sources)) == 0
    with pytest.raises(SystemExit):
        main(arguments(tmp_path / "pool", sources))
    assert "holds a pool already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["images/mine.jpg", "mine.txt", "images/deep/mine.jpg"])
def test_files_of_the_user_are_not_touched(tmp_path, sources, capsys, name) -> None:
    mine = tmp_path / "pool" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(SystemExit):
        main(arguments(tmp_path / "pool", sources))
    assert "holds other files; choose a folder" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert [path for path in (tmp_path / "pool").rglob("*") if path.is_file()] == [mine]


def test_a_pool_is_there_whole_or_not_at_all(tmp_path, sources, monkeypatch, capsys) -> None:
    """What cannot be read is named; the empty folder that was there takes the pool."""
    out = tmp_path / "pool"
    out.mkdir()
    broken = sources["con"] / "deep" / "0.png"
    kept = broken.read_bytes()
    broken.write_bytes(kept[:60])
    with pytest.raises(SystemExit):
        main([*arguments(out, sources)[:-4], "--others", f"{sources['con']}:5"])
    assert f"{broken} cannot be read as an image" in capsys.readouterr().err
    assert not any(out.iterdir()) and not (tmp_path / ".pool.part").exists()
    broken.write_bytes(kept)
    monkeypatch.chdir(out.parent)
    assert main(arguments(Path("pool"), sources)) == 0
    assert len(rows(out)) == 16


def test_nothing_is_no_pool(tmp_path, sources, capsys) -> None:
    none = ["--persons", "0"]
    with pytest.raises(SystemExit):
        main(["-o", str(tmp_path / "pool"), "--domain", "Market1501", *none])
    assert "the pool has no image" in capsys.readouterr().err
