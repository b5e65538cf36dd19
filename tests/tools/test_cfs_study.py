"""The study of CFS: all arms for real in a form of minutes; its lists; areas under the ROC."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
from cfs.images.keys import key_list
from cfs.images.listing import open_listing
from cfs.pipeline import config as pipeline_config
from cfs.scores.reading import Scores, read_scores
from dinopretrain.data.listing import read_list
from dinopretrain.data.path_list import PathList
from PIL import Image
from python_forks import run
from reid_commands.studies import cfs as cfs_study
from reid_commands.studies import cfs_arms as cfs_study_arms
from reid_commands.studies import cfs_truth
from reid_common.errors import UserError
from reid_core.config import load_config
from reid_core.run.command_line import parse_command
from small_pipeline import write_pipeline
from synthetic import write_market
from toyreid.pool.plan import KINDS, PERSON, PoolSpec
from toyreid.pool.render import render_pool
from transreid.inference.feature_files import FeatureSet, write_features

TOOL = Path(__file__).parents[2] / "tools" / "cfs_study.py"
NUM_IMAGES, USED = 48, 40
POOL = ["DATASETS.NAMES", "('ToyUnlabeled',)"]
ROWS = [
    "from scratch",
    "DINO on all",
    "DINO on the best 50% by CFS",
    "DINO on a random 50%",
    "DINO on the worst 50% by CFS",
    cfs_study_arms.DOMAIN_TITLE,
]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study_data")
    render_pool(root, PoolSpec(num_images=NUM_IMAGES), workers=1)
    write_market(root, size=(32, 16))
    return root


@pytest.fixture(scope="module")
def study(root, tmp_path_factory) -> Path:
    """A study of one seed, in which the second call has nothing left to do."""
    folder = tmp_path_factory.mktemp("study")
    stages = {
        stage: {"CONFIG": str(folder / "dino.yml"), "OPTS": POOL}
        for stage in ("SOURCE", "PRETRAIN")
    }
    stages["SOURCE"]["OPTS"] = [*POOL, "DINO.KOLEO_WEIGHT", 0.1]
    file = write_pipeline(folder, **stages)
    line = [sys.executable, str(TOOL), "--config-file", str(file), "--seeds", "1"]
    line += ["--images", str(USED), "--out", str(folder / "study"), "--domain", "--options"]
    line += ["ALL.SOLVER.MAX_EPOCH", "1", "ALL.SOLVER.WARMUP_EPOCHS", "0"]
    (folder / "study").mkdir()
    (folder / "study" / "call.json").write_text(json.dumps(line))
    command = [forked.__file__, "reid_commands.studies.cfs", *line[2:]]
    data = {"FASTREID_DATASETS": str(root)}
    first, second = (run(*command, environment=data) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert int(first.stdout.split()[-1]) > len(ROWS)
    assert "stage 1 of 7, source: done before" in second.stdout
    assert second.stdout.endswith("forked: 0\n")
    return folder / "study"


def test_all_arms_have_figures(study) -> None:
    (seed,) = json.loads((study / "study.json").read_text())
    assert list(seed["figures"]) == ROWS
    assert all(0 < row["mAP"] <= 100 for row in seed["figures"].values())
    text = (study / "study.md").read_text()
    assert all(f"| {row} | 1 |" in text for row in ROWS)
    assert f"| {cfs_truth.BOTH} |" in text
    assert text.startswith("Seeds: 1\n")


def test_halves_are_of_one_size_and_of_the_right_images(study, root) -> None:
    folder = study / "seed1"
    scores = read_scores(str(folder / "scores"))
    by_name = dict(zip(scores.names, scores.values.tolist(), strict=True))
    assert len(by_name) == USED
    names = ("CFS_list.pkl", "random.txt", "worst.txt")
    best, random, worst = (list(read_list(str(folder / "selection" / name))) for name in names)
    assert len(best) == len(random) == len(worst) == USED // 2
    assert set(best) | set(worst) == set(by_name)
    assert min(by_name[name] for name in best) >= max(by_name[name] for name in worst)
    assert set(random) not in (set(best), set(worst))
    kept = {
        arm: json.loads((folder / arm / "filters_summary.json").read_text())["kept"]
        for arm in ("pretrain", "pretrain_random", "pretrain_worst", "pretrain_domain")
    }
    domain = list(read_list(str(folder / "selection" / "domain.txt")))
    with open(root / "ToyUnlabeled" / "truth.csv", newline="") as file:
        kinds = {row["name"]: row["kind"] for row in csv.DictReader(file)}
    persons = {name for name in by_name if kinds[os.path.basename(name)] == PERSON}
    assert len(domain) == min(len(persons), USED // 2) and set(domain) <= persons
    assert kept.pop("pretrain_domain") == len(domain)
    assert set(kept.values()) == {USED // 2}


def test_arms_start_from_their_own_weights(study) -> None:
    for arm, source in {
        "finetune_all": "pretrain_all",
        "finetune": "pretrain",
        "finetune_random": "pretrain_random",
        "finetune_worst": "pretrain_worst",
        "finetune_domain": "pretrain_domain",
    }.items():
        record = json.loads((study / "seed1" / "stages" / f"{arm}.json").read_text())
        (command,) = record["commands"]
        path = command[command.index("MODEL.BACKBONE.PRETRAIN_PATH") + 1]
        assert Path(path).parent.name == source
    record = json.loads((study / "seed1" / "stages" / "scratch.json").read_text())
    assert "MODEL.BACKBONE.PRETRAIN_PATH" not in record["commands"][0]


@pytest.mark.parametrize("koleo", [0.0, 0.1])
def test_all_is_pre_trained_once(tmp_path, monkeypatch, root, koleo: float) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    options = ["SOURCE.DINO.KOLEO_WEIGHT", str(koleo)]
    cfg = pipeline_config.load_config(write_pipeline(tmp_path), options)
    stages = {stage.name: stage for stage in cfs_study_arms.study_stages(cfg)}
    assert ("pretrain_all" in stages) == (koleo > 0)
    weights = Path(stages["finetune_all"].cfg.MODEL.BACKBONE.PRETRAIN_PATH)
    assert weights.parent.name == ("pretrain_all" if koleo else "source")
    options += ["SOURCE.DATALOADER.NUM_WORKERS", "1", "PRETRAIN.SOLVER.CHECKPOINT_PERIOD", "3"]
    cfg = pipeline_config.load_config(write_pipeline(tmp_path), options)
    again = [stage.name for stage in cfs_study_arms.study_stages(cfg)]
    assert again == [*stages]  # the same weights


def test_from_scratch_is_from_random_weights(tmp_path, monkeypatch, root) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    (tmp_path / "weights.pth").touch()
    options = ["FINETUNE.MODEL.BACKBONE.PRETRAIN", "True"]
    options += ["FINETUNE.MODEL.BACKBONE.PRETRAIN_PATH", str(tmp_path / "weights.pth")]
    cfg = pipeline_config.load_config(write_pipeline(tmp_path), options)
    stages = {stage.name: stage for stage in cfs_study_arms.study_stages(cfg)}
    assert not stages["scratch"].cfg.MODEL.BACKBONE.PRETRAIN and not stages["scratch"].inputs
    assert stages["finetune_all"].cfg.MODEL.BACKBONE.PRETRAIN


def test_each_seed_draws_its_own_random_images(study, tmp_path) -> None:
    shutil.copytree(study / "seed1" / "scores", tmp_path / "scores")
    drawn = {}
    for seed in (1, 2):
        cfs_study_arms.write_selections(tmp_path, USED // 2, seed)
        drawn[seed] = (tmp_path / "selection" / "random.txt").read_text()
    assert drawn[1] == (study / "seed1" / "selection" / "random.txt").read_text()
    assert set(drawn[1].splitlines()) != set(drawn[2].splitlines())


class Begun(Exception):
    """The pipeline has begun."""


@pytest.fixture
def again(study, root, tmp_path, monkeypatch) -> list[str]:
    """Arguments of the study once more, with a copy of its results in tmp_path/again.

    The pipeline itself only raises Begun.
    """
    monkeypatch.setenv("FASTREID_DATASETS", str(root))

    def begin(*_: object) -> None:
        raise Begun

    monkeypatch.setattr(cfs_study.pipeline_run, "run_pipeline", begin)
    out = tmp_path / "again"
    shutil.copytree(study, out)
    for record in (out / "seed1" / "stages").glob("*.json"):  # --images has its place in names
        record.write_text(record.read_text().replace(str(study), str(out)))
    command = json.loads((study / "call.json").read_text())
    command[command.index("--out") + 1] = str(out)
    return command[2:]


def refusal(line: list[str], capsys) -> str:
    with pytest.raises(SystemExit):
        cfs_study.main(line)
    return capsys.readouterr().err


def test_other_settings_of_an_arm_are_refused_before_the_pipeline_begins(
    again, tmp_path, capsys
) -> None:
    """The pipeline's own stages are gone, as its refusal asks for; those of the arms are there."""
    again += ["PRETRAIN.SOLVER.BASE_LR", "0.01"]
    for name in ("pretrain", "finetune", "evaluate"):
        (tmp_path / "again" / "seed1" / "stages" / f"{name}.json").unlink()
        shutil.rmtree(tmp_path / "again" / "seed1" / name)
    message = refusal(again, capsys)
    assert "stage pretrain_all" in message and "SOLVER.BASE_LR" in message


def test_arms_older_than_the_selection_are_refused_before_the_pipeline_begins(
    again, tmp_path, capsys
) -> None:
    stages = tmp_path / "again" / "seed1" / "stages"
    for name in ("select", "pretrain", "finetune", "evaluate"):
        (stages / f"{name}.json").unlink()
        shutil.rmtree(tmp_path / "again" / "seed1" / ("selection" if name == "select" else name))
    message = refusal(again, capsys)
    assert "stage select is not done" in message
    for arm in ("random", "worst", "domain"):
        assert f"stages/pretrain_{arm}.json" in message
        assert f"finetune_{arm}/" in message
    assert "stages/study.json, stages/study_domain.json" in message
    assert "pretrain_all" not in message and "scratch" not in message


def test_another_share_is_refused_of_all_that_was_made_with_it(again, tmp_path, capsys) -> None:
    """Whatever the refusals name is deleted; the table's rows have the share in their titles."""
    again += ["KEEP", "0.75"]
    named: set[str] = set()
    for _ in range(30):
        try:
            cfs_study.main(again)
        except Begun:
            break
        except SystemExit:
            (away,) = re.findall(r"elete (.*?) there to run", capsys.readouterr().err)
            named |= set(away.split(", "))
            for name in away.split(", "):
                path = tmp_path / "again" / "seed1" / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    else:
        pytest.fail(f"refused after all of {named} is deleted")
    assert {"stages/select.json", "stages/study.json", "study/"} <= named
    assert "stages/source.json" not in named and "stages/pretrain_all.json" not in named


def test_what_was_cut_or_is_added_later_goes_on(again, tmp_path) -> None:
    """A study without --domain, cut in an arm, goes on, with --domain or without."""
    folder = tmp_path / "again" / "seed1"
    for name in ("pretrain_domain", "finetune_domain", "study_domain", "study"):
        (folder / "stages" / f"{name}.json").unlink()
        shutil.rmtree(folder / name)
    (folder / "selection" / "domain.txt").unlink()  # which only --domain writes
    for name in ("finetune_worst", "pretrain_random"):
        record = json.loads((folder / "stages" / f"{name}.json").read_text())
        (folder / "stages" / f"{name}.json").write_text(json.dumps({**record, "status": "started"}))
    (folder / "stages" / "finetune_random.json").unlink()
    shutil.rmtree(folder / "finetune_random")
    options = [*again[again.index("--options") + 1 :], "SEED", "1", "OUTPUT_DIR", str(folder)]
    options += cfs_study.small_pool(folder, sorted(read_scores(str(folder / "scores")).names), USED)
    config = again[again.index("--config-file") + 1]
    names = [stage.name for stage in cfs_study.prepare(config, options).stages]
    assert names[-2:] == ["scratch", "study"] and "pretrain_domain" not in names
    names = [stage.name for stage in cfs_study.prepare(config, options, domain=True).stages]
    assert names[-2:] == ["study", "study_domain"] and "pretrain_domain" in names
    (folder / "selection" / "random.txt").unlink()  # of an arm that has begun
    with pytest.raises(UserError, match=r"random\.txt' is not there"):
        cfs_study.prepare(config, options)


def test_the_list_of_an_arm_that_has_begun_stays(study, tmp_path) -> None:
    shutil.copytree(study / "seed1", tmp_path / "seed1")
    folder = tmp_path / "seed1"
    kept = folder / "selection" / "random.txt"
    before = kept.read_text()
    cfs_study_arms.write_selections(folder, USED // 2, seed=2)
    assert kept.read_text() == before
    (folder / "stages" / "pretrain_random.json").unlink()
    cfs_study_arms.write_selections(folder, USED // 2, seed=2)
    assert kept.read_text() != before


def test_all_seeds_are_looked_at_before_the_first_begins(again, tmp_path, capsys) -> None:
    (tmp_path / "again" / "seed2" / "scratch").mkdir(parents=True)
    (tmp_path / "again" / "seed2" / "scratch" / "last_checkpoint").write_text("model_final.pth")
    again.insert(again.index("--seeds") + 2, "2")
    message = refusal(again, capsys)
    assert "seed2/scratch' is there already" in message and "--from" not in message


def test_a_seed_named_twice_and_two_test_sets_are_refused(again, capsys) -> None:
    twice = [*again]
    twice.insert(again.index("--seeds") + 1, "1")
    assert "--seeds 1 1 names one twice" in refusal(twice, capsys)
    again += ["FINETUNE.DATASETS.TESTS", "('Market1501', 'ToyReID')"]
    assert "has room for one test set" in refusal(again, capsys)


def test_another_pool_or_too_many_images_are_refused(root, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    (root / "pool").mkdir(exist_ok=True)
    file = write_pipeline(tmp_path)  # of an ImageFolder
    line = ["--config-file", str(file), "--out", str(tmp_path / "study")]
    with pytest.raises(SystemExit):
        cfs_study.main(line)
    assert "['ImageFolder:pool']; the study needs ToyUnlabeled" in capsys.readouterr().err
    pool = ["--options", f"PRETRAIN.{POOL[0]}", POOL[1]]
    for count in (0, NUM_IMAGES + 1):
        with pytest.raises(SystemExit):
            cfs_study.main([*line, "--images", str(count), *pool])
        assert f"--images is {count}; ToyUnlabeled has {NUM_IMAGES}" in capsys.readouterr().err


def test_the_report_has_all_arms(study) -> None:
    text = (study / "seed1" / "report.md").read_text()
    assert all(row in text for row in ROWS)


def test_areas_of_a_perfect_score_and_of_one_that_knows_nothing() -> None:
    kinds = [kind for kind in KINDS for _ in range(3)]
    perfect = np.array([float(kind == PERSON) for kind in kinds])
    assert set(cfs_truth.areas(perfect, kinds).values()) == {1.0}
    assert set(cfs_truth.areas(-perfect, kinds).values()) == {0.0}
    assert set(cfs_truth.areas(np.zeros(len(kinds)), kinds).values()) == {0.5}


def test_simple_filters_know_low_resolution(root, tmp_path, monkeypatch) -> None:
    """Resolution and sharpness tell blurred, small pictures; scores are matched by name."""
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    images = open_listing(load_config(), ["ToyUnlabeled"])
    known = cfs_truth.truth()
    names = sorted(known, reverse=True)  # another order than the data set's
    oracle = np.array([float(known[name] == PERSON) for name in names])
    found = cfs_truth.separation(Scores(PathList.from_iterable(names), oracle), images, tmp_path)
    assert found[cfs_truth.CFS]["all"] == 1.0
    assert found["resolution (height x width)"]["low_resolution"] > 0.65
    assert found["sharpness"]["low_resolution"] > 0.65
    assert found[cfs_truth.BOTH]["all"] > found[cfs_truth.SIMPLE]["all"]


def test_likeness_to_a_target(root, tmp_path, monkeypatch) -> None:
    """Of persons along the first axis, all else along the second; the target is near the first."""
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    images = open_listing(load_config(), ["ToyUnlabeled"])
    names = list(key_list(images))
    inside = cfs_truth.kinds_of(names) == PERSON
    pool, target = str(tmp_path / "pool.npz"), str(tmp_path / "target.npz")
    axes = np.stack([inside, ~inside], 1).astype(np.float32)
    write_features(pool, FeatureSet(names, axes))
    write_features(target, FeatureSet(["a", "b"], np.float32([[0.6, 0.8], [1, 0]])))
    found = cfs_truth.likeness((pool, target), images)
    assert found[cfs_truth.NEIGHBOURS] == pytest.approx(np.where(inside, 1.0, 0.8))
    assert found[cfs_truth.MEAN] == pytest.approx(np.where(inside, 0.8, 0.4))


def test_the_tool_prints_the_table_of_any_scores(study, root, monkeypatch, capsys) -> None:
    """The scores are of a part of the pool."""
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    assert cfs_truth.main(["--scores", str(study / "seed1" / "scores")]) == 0
    output = capsys.readouterr().out
    (seed,) = json.loads((study / "study.json").read_text())
    assert cfs_truth.separation_table([seed["separation"]]) in output


def test_the_table_has_means_and_spreads() -> None:
    columns = ["all", *(kind for kind in KINDS if kind != PERSON)]
    seeds = [{"CFS": dict.fromkeys(columns, value)} for value in (0.5, 0.7)]
    table = cfs_truth.separation_table(seeds)
    assert "| CFS | 0.60 ± 0.14 |" in table and "2 seed(s)" in table
    assert "| CFS | 0.50 |" in cfs_truth.separation_table(seeds[:1])


@pytest.fixture
def photographs(root, tmp_path, monkeypatch) -> Path:
    """A pool of photo_pool, here of drawn pictures: 12 images of the domain, and others."""
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    pool = tmp_path / "photos"
    (pool / "images").mkdir(parents=True)
    kinds = [PERSON, "no_person", "statue", "cropped"] * 3
    rng = np.random.default_rng(0)
    with open(pool / "truth.csv", "w", newline="") as file:
        csv.writer(file).writerow(("name", "kind", "source"))
        for number, kind in enumerate(kinds):
            csv.writer(file).writerow((f"{number:06d}.jpg", kind, "drawn"))
            pixels = rng.integers(0, 256, (32, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(pool / "images" / f"{number:06d}.jpg")
    return pool


def test_truth_of_a_pool_of_photographs(photographs, tmp_path, capsys) -> None:
    known = cfs_truth.truth(photographs)
    assert known["000000.jpg"] == PERSON and known["000006.jpg"] == "statue"
    images = open_listing(load_config(), [cfs_truth.pool_name(photographs)])
    names = list(key_list(images))
    scores = Scores(
        PathList.from_iterable(names),
        np.array([float(known[os.path.basename(name)] == PERSON) for name in names]),
    )
    vectors = np.random.default_rng(1).normal(size=(len(names) + 2, 4)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    files = [str(tmp_path / "pool.npz"), str(tmp_path / "target.npz")]
    write_features(files[0], FeatureSet(names, unit[:-2]))
    write_features(files[1], FeatureSet(["a.jpg", "b.jpg"], unit[-2:]))
    found = cfs_truth.separation(scores, images, tmp_path / "cache", photographs, files)
    assert [*found[cfs_truth.CFS]] == ["all", "cropped", "no_person", "statue"]
    assert set(found[cfs_truth.CFS].values()) == {1.0}
    nearest = (unit[:-2] @ unit[-2:].T).max(axis=1)
    kinds = cfs_truth.kinds_of(names, photographs)
    assert found[cfs_truth.NEIGHBOURS] == cfs_truth.areas(nearest, kinds)
    assert "| statue |" in cfs_truth.separation_table([found])
    with pytest.raises(UserError, match=r"give the folder that tools/photo_pool\.py has written"):
        cfs_truth.truth(tmp_path / "nothing")


def test_stages_on_photographs(photographs, tmp_path) -> None:
    line = ["--pool", str(photographs), "--dataset", "Market1501:identities=2", "--images", "8"]
    args = parse_command(
        cfs_study.parser(), [*line, "--seeds", "1"], pipeline_config.default_config()
    )
    args.out = tmp_path / "study"
    (seed,) = cfs_study.prepare_all(args)
    for stage in seed.stages:
        if stage.name.startswith("pretrain"):
            (name,) = stage.cfg.DATASETS.NAMES
            assert name.startswith(f"ImageFolder:{photographs}/images?list=")
        elif stage.parts == [] or stage.name in ("scratch", "finetune_all"):
            assert stage.cfg.DATASETS.NAMES == ("Market1501:identities=2",)
            assert stage.cfg.DATASETS.TESTS == ("Market1501:identities=2",)
    Image.new("RGB", (16, 32)).save(photographs / "images" / "mine.jpg")
    with pytest.raises(UserError, match=r"truth\.csv of ImageFolder:.* does not name 'mine\.jpg'"):
        cfs_study.prepare_all(args)
    (photographs / "images" / "mine.jpg").unlink()
    (photographs / "truth.csv").rename(tmp_path / "truth.csv")
    with pytest.raises(UserError, match=r"give the folder that tools/photo_pool\.py has written"):
        cfs_study.prepare_all(args)
    (tmp_path / "truth.csv").rename(photographs / "truth.csv")
    args.out = None
    cfs_study.complete(args, cfs_study.FOLDER)
    assert args.out == Path("logs/cfs_study_Market1501_identities_2")
    args.pool = None
    with pytest.raises(UserError, match="the study needs ToyUnlabeled"):
        cfs_study.open_pool(seed.cfg)
