"""ToyUnlabeled: sizes, kinds, other persons than ToyReID's, nothing that tells the truth."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reid_commands.draw_toyreid import main as draw
from reid_common.errors import UserError
from reid_core.data.opening import open_dataset
from toyreid.people import ToySpec, plan_shots
from toyreid.people.once import read_meta
from toyreid.pool import KINDS, PoolSpec, plan_pool, render, render_pool
from toyreid.pool.sheet import draw_pool_sheet
from toyreid.pool.strangers import SIZES, WORLDS, other_domain

SMALL = PoolSpec(num_images=40, seed=3)


@pytest.fixture(scope="module")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pool")
    render_pool(root, SMALL)
    return root


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def truth_of(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "truth.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_the_default_is_large_enough_and_half_of_it_in_domain():
    plan = plan_pool(PoolSpec())
    kinds = Counter(picture.kind for picture in plan.pictures)
    assert len(plan.pictures) >= 4000 and set(kinds) == set(KINDS)
    for kind, share in KINDS.items():
        assert kinds[kind] == pytest.approx(share * len(plan.pictures), abs=3)
    assert len({p.name for p in plan.pictures}) == len(plan.pictures)
    in_domain = Counter(p.person for p in plan.pictures if p.kind == "person")
    assert len(in_domain) > 400  # identities
    assert all(p.camera < len(plan.cameras) for p in plan.pictures)


def test_neither_its_persons_nor_its_cameras_are_those_of_toyreid():
    pool, toy = plan_pool(PoolSpec()), plan_shots(ToySpec())
    assert not set(pool.people) & set(toy.people.values())
    assert not {c.seed for c in pool.cameras} & {c.seed for c in toy.cameras}


def test_the_order_does_not_tell_the_kind():
    pictures = plan_pool(PoolSpec()).pictures
    for half in (pictures[: len(pictures) // 2], pictures[len(pictures) // 2 :]):
        shares = Counter(p.kind for p in half)
        for kind, share in KINDS.items():
            assert shares[kind] / len(half) == pytest.approx(share, abs=0.03)


def test_the_same_spec_gives_the_same_bytes_whatever_the_number_of_threads(small_root, tmp_path):
    again = render_pool(tmp_path, SMALL, workers=1)
    assert files_of(again) == files_of(small_root / "ToyUnlabeled")
    other = render_pool(tmp_path / "b", PoolSpec(num_images=40, seed=4), workers=1)
    first, second = (set(files_of(f / "images").values()) for f in (again, other))
    assert not first & second


def test_files(small_root):
    folder = small_root / "ToyUnlabeled"
    assert sorted(p.name for p in folder.iterdir()) == ["images", "meta.json", "truth.csv"]
    names = sorted(p.name for p in (folder / "images").iterdir())
    assert names == [f"{i:06d}.jpg" for i in range(40)]
    truth = truth_of(folder)
    assert sorted(truth) == names
    assert Counter(row["kind"] for row in truth.values()) == {
        "person": 19, "cropped": 6, "low_resolution": 5, "other_domain": 6, "no_person": 4
    }  # fmt: skip
    for row in truth.values():
        assert row["in_domain"] == str(int(row["kind"] == "person"))


def test_kinds_look_as_they_should(small_root):
    folder = small_root / "ToyUnlabeled"
    sizes = {}
    for name, row in truth_of(folder).items():
        with Image.open(folder / "images" / name) as image:
            sizes.setdefault(row["kind"], []).append(image.size)
    assert set(sizes["person"]) == set(sizes["no_person"]) == {(64, 128)}
    assert all(width * height < 0.65 * 64 * 128 for width, height in sizes["cropped"])
    assert any(height < 32 for _, height in sizes["low_resolution"])
    assert {(width, height) for height, width in SIZES} >= set(sizes["other_domain"])
    assert min(min(size) for kind in sizes.values() for size in kind) >= 4  # none is a bad image


def test_every_other_domain_can_be_drawn(monkeypatch):
    person = plan_pool(SMALL).people[0]
    means = []
    for world in WORLDS:
        monkeypatch.setattr("toyreid.pool.strangers.WORLDS", {world: WORLDS[world]})
        picture = other_domain(person, np.random.default_rng(0))
        assert picture.dtype == np.uint8 and picture.shape[:2] in SIZES
        means.append(picture.mean((0, 1)))
    assert np.std(means, axis=0).min() > 15


def test_registered_and_what_is_there_is_taken(small_root, caplog):
    with caplog.at_level(logging.WARNING):
        images = open_dataset("ToyUnlabeled", root=str(small_root)).images
    assert "not the standard data set" in caplog.text
    assert len(images) == 40
    for index in range(40):
        assert images.name(index).endswith(f"images/{index:06d}.jpg")
        assert images.read(index).shape[2] == 3


def test_a_list_chooses(small_root, tmp_path):
    (tmp_path / "list.txt").write_text("000007.jpg\n000003.jpg\n")
    images = open_dataset(f"ToyUnlabeled:?list={tmp_path}/list.txt", root=str(small_root)).images
    assert [images.name(i)[-10:] for i in range(len(images))] == ["000007.jpg", "000003.jpg"]
    with pytest.raises(UserError, match=r"write ToyUnlabeled\?list=FILE|ToyUnlabeled:\?list=FILE"):
        open_dataset("ToyUnlabeled:/data/x", root=str(small_root))


def test_a_damaged_pool_is_rendered_again_and_one_of_another_version_replaced(
    tmp_path, monkeypatch
):
    spec = PoolSpec(num_images=10, seed=1)
    folder = render_pool(tmp_path, spec)
    before = files_of(folder)
    (folder / "images" / "000003.jpg").unlink()
    assert files_of(render_pool(tmp_path, spec)) == before
    (folder / "truth.csv").unlink()
    assert files_of(render_pool(tmp_path, spec)) == before
    monkeypatch.setattr(render, "GENERATOR_VERSION", -1)
    assert not render.is_complete(folder)
    render_pool(tmp_path, spec)
    assert read_meta(folder)["generator_version"] == -1
    assert not list(tmp_path.glob(".ToyUnlabeled.*.part"))


def test_too_small_a_pool_is_refused():
    with pytest.raises(UserError, match="num_images is 3; set 10 or more"):
        PoolSpec(num_images=3)


def test_nothing_that_trains_reads_the_truth():
    projects = Path(render.__file__).parents[3]
    readers = {
        str(path.relative_to(projects))
        for path in projects.rglob("*.py")
        if re.search(r"truth\.csv|\bTRUTH\b", path.read_text())
        and "reid_commands" not in path.parts  # the study measures scores against it
    }
    # The third names it in a docstring.
    assert readers == {
        "ToyReID/toyreid/pool/render.py",
        "ToyReID/toyreid/pool/sheet.py",
        "DINOPretrain/dinopretrain/data/datasets.py",
    }


def test_contact_sheet(small_root, tmp_path):
    out = tmp_path / "sheet.png"
    draw_pool_sheet(small_root / "ToyUnlabeled", out, rows=1)
    with Image.open(out) as image:
        assert image.width > 300
    with pytest.raises(UserError, match="no ToyUnlabeled"):
        draw_pool_sheet(tmp_path, out)


def test_the_tool_draws_the_sheet(small_root, tmp_path, capsys):
    out = tmp_path / "pool.png"
    arguments = ["--pool", "--root", str(small_root), "--out", str(out), "--rows", "1"]
    assert draw(arguments) == 0
    assert out.is_file() and str(out) in capsys.readouterr().out


def test_the_tool_reads_the_variable_and_writes_here(small_root, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(small_root))
    monkeypatch.chdir(tmp_path)
    assert draw(["--pool", "--rows", "1"]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["toyunlabeled.png"]


def test_the_tool_refuses_a_name_before_it_renders(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(SystemExit):
        draw(["--pool", "-o", "sheet.doc"])
    assert "'sheet.doc' is no name of a picture" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
