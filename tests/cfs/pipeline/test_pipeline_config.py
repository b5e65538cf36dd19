"""The file of a pipeline, its options, and what records compare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cfs.filters.list_filter import ListFilter
from cfs.pipeline.checks.history import check_same_settings
from cfs.pipeline.config import load_config, stage_gpus, stage_options
from cfs.pipeline.records import Record, read_record, record_file, write_record
from cfs.pipeline.stages.settings import digests, training_inputs, training_settings
from reid_common.errors import UserError
from small_pipeline import dino_cfg, write_pipeline

CONFIGS = sorted((Path(__file__).parents[3] / "projects" / "CFS" / "configs").glob("*.yml"))


@pytest.fixture
def file(tmp_path) -> Path:
    return write_pipeline(tmp_path)


def test_keys_of_the_pipeline_and_of_its_stages(file) -> None:
    words = "KEEP None KEEP_NUM 7 ALL.MODEL.DEVICE cpu SOURCE.SOLVER.MAX_EPOCH 5 SEED 9"
    cfg = load_config(file, words.split())
    assert (cfg.KEEP, cfg.KEEP_NUM, cfg.SEED) == (None, 7, 9)
    common = ["SEED", "9", "MODEL.DEVICE", "cpu"]
    assert stage_options(cfg, "source") == [*common, "SOLVER.MAX_EPOCH", "5"]
    assert stage_options(cfg, "target") == common


def test_base_and_options_of_files(tmp_path, file) -> None:
    child = tmp_path / "child.yml"
    child.write_text("_BASE_: pipeline.yml\nKEEP: 0.25\nSOURCE: {OPTS: [SOLVER.MAX_EPOCH, 4]}\n")
    assert load_config(child).TARGET.CONFIG.endswith("transreid.yml")
    for key in ("SOURCE", "ALL"):  # the last one counts: what is said behind the command
        cfg = load_config(child, [f"{key}.SOLVER.MAX_EPOCH", "6"])
        assert cfg.KEEP == 0.25
        pairs = ["SOLVER.MAX_EPOCH", "4", "SOLVER.MAX_EPOCH", "6"]
        assert stage_options(cfg, "source")[2:] == pairs


def test_stages_may_have_their_own_number_of_processes(file) -> None:
    cfg = load_config(file, ["NUM_GPUS", "4", "FINETUNE.NUM_GPUS", "1"])
    assert [stage_gpus(cfg, stage) for stage in ("source", "finetune")] == [4, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("KEEPS 0.5", "no key KEEPS; did you mean KEEP"),
        ("SCORE.BATCHSIZE 4", "no key SCORE.BATCHSIZE; did you mean SCORE.BATCH_SIZE"),
        ("MODEL.DEVICE cpu", "no key MODEL.DEVICE of a pipeline; write ALL.MODEL.DEVICE"),
        ("KEEP 1.5", "keep is 1.5; write a fraction"),
        ("KEEP_NUM 7", "KEEP is 0.5 and KEEP_NUM 7; set one of them"),
        ("KEEP None", "KEEP is None and KEEP_NUM None; set one of them"),
        ("OUTPUT_DIR ''", "OUTPUT_DIR is empty"),
        ("TARGET.CONFIG ''", "TARGET.CONFIG is empty"),
        ("NUM_GPUS 0", "NUM_GPUS is 0; write 1"),
        ("TARGET.NUM_GPUS -1", "TARGET.NUM_GPUS is -1; write 1 or more, 0 for"),
        ("SOURCE.OPTS ['SOLVER.MAX_EPOCH']", "SOURCE.OPTS has 1 entries; write KEY, VALUE"),
        ("SCORE.PRECISION fp8", "precision is 'fp8'; choose one of"),
        ("SCORE.MAX_BAD 1.5", "SCORE.MAX_BAD is 1.5; write the share"),
        ("SEED", "options are pairs of KEY and VALUE, but there are 1 words: SEED"),
    ],
)
def test_what_cannot_be_is_refused(file, words, message) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        load_config(file, words.split())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_that_come_along(path) -> None:
    cfg = load_config(path)
    assert cfg.OUTPUT_DIR.endswith(path.stem) and cfg.KEEP == 0.5
    assert stage_gpus(cfg, "finetune") == 1


def test_records_are_read_as_they_were_written(tmp_path) -> None:
    record = Record("score", "scores", sizes={"images": 3}, settings={"a": [1]})
    write_record(tmp_path, record)
    assert read_record(tmp_path, "score") == record
    assert read_record(tmp_path, "source") is None
    record_file(tmp_path, "score").write_text("{}")
    with pytest.raises(UserError, match=r"score.json' is no record of a stage .*; delete it"):
        read_record(tmp_path, "score")


def test_settings_leave_out_what_makes_no_difference(tmp_path) -> None:
    cfg = dino_cfg()
    settings = training_settings(cfg, 1, tmp_path)
    json.dumps(settings)
    other = cfg.clone()
    other.OUTPUT_DIR, other.MODEL.DEVICE, other.DATALOADER.NUM_WORKERS = "x", "cuda", 7
    other.SOLVER.CHECKPOINT_PERIOD, other.TEST.EVAL_PERIOD, other.DINO.MICRO_BATCH = 9, 9, 2
    other.DINO.COLLAPSE_GRACE = 9
    assert training_settings(other, 1, tmp_path) == settings
    for key, value in (("MODEL.BACKBONE.STEM", "ics"), ("DINO.KOLEO_WEIGHT", 0.1)):
        # BatchNorm and KoLeo see a piece at a time.
        pair = [cfg.clone(), other.clone()]
        for node in pair:
            node.merge_from_list([key, value])
        one, two = (training_settings(node, 1, tmp_path) for node in pair)
        assert {k for k in one if one[k] != two[k]} == {"DINO.MICRO_BATCH"}
    cfg.MODEL.BACKBONE.NAME = other.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    assert training_settings(other, 1, tmp_path) != training_settings(cfg, 1, tmp_path)


def test_changed_settings_are_named(tmp_path) -> None:
    cfg = dino_cfg()
    record = Record("source", "", settings=training_settings(cfg, 1, tmp_path))
    record.outputs = {"weights": "source/teacher_backbone.pth"}
    check_same_settings(record, training_settings(cfg, 1, tmp_path), tmp_path)
    cfg.DATASETS.TESTS = ("Market1501",)  # in the record, but of no weight
    check_same_settings(record, training_settings(cfg, 1, tmp_path), tmp_path)
    with pytest.raises(UserError, match=r"stage source .* NUM_GPUS was 1, now it is 2\. Set it"):
        check_same_settings(record, training_settings(cfg, 2, tmp_path), tmp_path)
    cfg.SOLVER.MAX_EPOCH = 8
    with pytest.raises(UserError, match=r"SOLVER.MAX_EPOCH was 3, .* 8.*stages/source.json, sou"):
        check_same_settings(record, training_settings(cfg, 1, tmp_path), tmp_path)


def test_files_of_every_filter_count_wherever_they_are(tmp_path, monkeypatch) -> None:
    """In the data root too; what is yet to be made keeps its name."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    for name in ("pool.npz", "target.npz"):
        (tmp_path / name).write_text(name)
    cfg = dino_cfg()
    cfg.DATASETS.FILTERS = [
        {"NAME": "NeighbourFilter", "FEATURES": "pool.npz", "TARGET": "target.npz", "KEEP": 0.5},
        {"NAME": "CFSFilter", "SCORES": "later", "KEEP": 0.5},
        {"NAME": "ResolutionFilter", "MIN_HEIGHT": 64},
    ]
    assert training_inputs(cfg) == {
        "DATASETS.FILTERS[0].FEATURES": str(tmp_path / "pool.npz"),
        "DATASETS.FILTERS[0].TARGET": str(tmp_path / "target.npz"),
        "DATASETS.FILTERS[1].SCORES": "later",
    }
    before = digests(training_inputs(cfg))
    assert len(before) == 2
    (tmp_path / "pool.npz").write_text("extracted again")
    after = digests(training_inputs(cfg))
    assert [key for key in before if after[key] != before[key]] == [
        "inputs.DATASETS.FILTERS[0].FEATURES"
    ]


def test_of_files_the_content_counts_and_not_the_place(tmp_path) -> None:
    states = []
    for number, (place, content) in enumerate([("a", "x"), ("b", "x"), ("c", "y")]):
        folder = tmp_path / place
        folder.mkdir()
        (folder / "list.txt").write_text(content)
        (folder / "weights.pth").write_text("w")
        cfg = dino_cfg()
        cfg.MODEL.BACKBONE.PRETRAIN = True
        cfg.MODEL.BACKBONE.PRETRAIN_PATH = str(folder / "weights.pth")
        cfg.DATASETS.FILTERS = [{"NAME": ListFilter.__name__, "LIST": str(folder / "list.txt")}]
        inputs = training_inputs(cfg)
        assert len(digests(inputs)) == 2
        settings = training_settings(cfg, 1, folder)
        assert settings["DATASETS.FILTERS"] == [{"NAME": "ListFilter", "LIST": "list.txt"}]
        cfg.DATASETS.NAMES = (f"LUPerson:?list={folder}/list.txt",)
        names = training_settings(cfg, 1, folder)["DATASETS.NAMES"]
        assert names == ["LUPerson:?list=list.txt"]
        states.append(Record(f"s{number}", "", settings={**settings, **digests(inputs)}))
    check_same_settings(states[0], states[1].settings, tmp_path)
    with pytest.raises(UserError, match=r"the file of DATASETS.FILTERS\[0\].LIST has changed"):
        check_same_settings(states[0], states[2].settings, tmp_path)
