"""The pipeline's command: checks, records, --only, --from, --dry-run. Its children are replaced."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cfs.pipeline import checks as pipeline_checks
from cfs.pipeline import dry_run as pipeline_dry_run
from cfs.pipeline import operations as pipeline_operations
from cfs.pipeline import process as pipeline_process
from cfs.pipeline import records as pipeline_records
from cfs.pipeline import run as pipeline_run
from cfs.pipeline.checks import disk_space
from cfs.pipeline.config import STAGES
from cfs.pipeline.records import Record
from cfs.pipeline.stages.stage import command_line
from reid_commands import pretrain as conditional_pretrain
from reid_commands import scores as cfs_commands
from reid_common.column_files.parquet import import_pyarrow
from reid_common.errors import UserError
from small_dino import NUM_IMAGES
from small_pipeline import KEPT, transreid_cfg, write_data, write_pipeline

START = command_line("")[:-1]
DONE_ONCE = ["source", "target", "score", "select", "select", "pretrain", "finetune"]


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pipeline_data")
    write_data(root)
    return root


@pytest.fixture
def file(tmp_path, data, monkeypatch) -> Path:
    monkeypatch.setenv("FASTREID_DATASETS", str(data))
    return write_pipeline(tmp_path)


class Children:
    """Takes the place of run_command: makes what a command would, and counts."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.fails: Callable[[list[str]], bool] = lambda command: False

    def __call__(self, command: list[str], log: Path, tick: Callable[[], None]) -> int:
        self.commands.append(command)
        tick()
        if self.fails(command):
            return 1
        name, *words = command[len(START) :]
        if name == "score":
            self.score(Path(words[words.index("--out") + 1]))
        elif name == "select":
            assert cfs_commands.main([name, *words]) == 0
        else:
            self.train(words, Path(words[-1]))
        return 0

    @staticmethod
    def score(folder: Path) -> None:
        pa = import_pyarrow()
        folder.mkdir()
        names = [f"{number:03d}.png" for number in range(NUM_IMAGES)]
        table = pa.table({"path": names, "score": [float(-n) for n in range(NUM_IMAGES)]})
        pa.parquet.write_table(table, folder / "part-00000.parquet")
        (folder / "meta.json").write_text(json.dumps({"count": NUM_IMAGES, "shard_size": 99}))

    @staticmethod
    def train(words: list[str], folder: Path) -> None:
        assert words[-2] == "OUTPUT_DIR"
        folder.mkdir(parents=True, exist_ok=True)
        if "--eval-only" in words:
            figures = {"Market1501": {"mAP": 50.0, "Rank-1": 60.0}}
            (folder / "evaluation.json").write_text(json.dumps(figures))
            return
        (folder / "config.yaml").write_text("")
        for name in ("model_final.pth", "teacher_backbone.pth"):
            (folder / name).write_text(f"{folder.name} {name}")

    def stages(self) -> list[str]:
        """What was run: the folder of a training, or the command."""
        folders = [
            f"{Path(c[-1]).parent.name}/{Path(c[-1]).name}" if c[3] == "train" else c[3]
            for c in self.commands
        ]
        return [name.removeprefix("out/") for name in folders]


@pytest.fixture
def children(monkeypatch) -> Children:
    children = Children()
    monkeypatch.setattr(pipeline_process, "run_command", children)
    return children


def run(file: Path, *words: object) -> int:
    return conditional_pretrain.main(["--config-file", str(file), *map(str, words)])


def refused(capsys, file: Path, *words: object) -> str:
    with pytest.raises(SystemExit) as caught:
        run(file, *words)
    assert caught.value.code == 2
    return capsys.readouterr().err


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_seven_stages_and_how_they_are_connected(file, tmp_path, children) -> None:
    assert run(file, "EVALUATE.RERANK", "True", "SEED", "7") == 0
    evaluations = [f"evaluate/{name}" for name in ("target", "target-re-ranking")]
    evaluations += [name.replace("target", "finetune") for name in evaluations]
    assert children.stages() == [*DONE_ONCE, *evaluations]
    out = tmp_path / "out"
    source, target, score, select, _, pretrain, finetune, *tests = children.commands
    for training in (source, target, pretrain, finetune):
        assert training[:4] == [sys.executable, "-m", "reid_commands", "train"]
        assert "--resume" in training and option(training, "SEED") == "7"
    path = "MODEL.BACKBONE.PRETRAIN_PATH"
    assert option(target, path) == str(out / "source" / "teacher_backbone.pth")
    assert option(finetune, path) == str(out / "pretrain" / "teacher_backbone.pth")
    listed = [{"NAME": "ListFilter", "LIST": str(out / "selection" / "CFS_list.pkl")}]
    assert option(pretrain, "DATASETS.FILTERS") == repr(listed)
    assert option(score, "--source-weights") == option(target, path)
    assert option(score, "--target-weights") == str(out / "target" / "model_final.pth")
    # Each model is normalised as its own config says.
    assert option(score, "--config-file") == str(out / "source" / "config.yaml")
    assert option(score, "--target-config-file") == str(out / "target" / "config.yaml")
    assert option(score, "--dataset") == "ImageFolder:pool"
    assert option(select, "--keep") == "0.5"
    assert [option(test, "TEST.RERANK.ENABLED") for test in tests] == ["False", "True"] * 2
    results = json.loads((out / "evaluate" / "results.json").read_text())
    assert [(row["model"], row["variant"]) for row in results] == [
        (model, variant) for model in ("target", "finetune") for variant in ("", "re-ranking")
    ]
    assert results[0]["mAP"] == 50.0 and results[0]["dataset"] == "Market1501"


def test_records(file, tmp_path, children) -> None:
    run(file)
    records = {
        name: json.loads((tmp_path / "out" / "stages" / f"{name}.json").read_text())
        for name in STAGES
    }
    assert {record["status"] for record in records.values()} == {"done"}
    assert records["source"]["commands"] == [children.commands[0]]
    assert records["source"]["outputs"]["weights"] == "source/teacher_backbone.pth"
    assert records["target"]["outputs"]["weights"] == "target/model_final.pth"
    assert records["target"]["settings"]["DATASETS.TESTS"] == ["Market1501"]
    assert records["source"]["sizes"] == {"images": NUM_IMAGES, "epochs": 3, "iterations": 18}
    assert records["target"]["sizes"]["identities"] == 4
    assert records["score"]["sizes"] == {"images": NUM_IMAGES, "bad": 0}
    assert records["select"]["sizes"] == {"images": NUM_IMAGES, "kept": KEPT}
    for record in records.values():
        assert record["attempts"] == 1 and record["started"] <= record["finished"]
        assert set(record["versions"]) == {"torch", "timm", "fastreid", "python", "commit"}
    names = (tmp_path / "out" / "selection" / "CFS_list.txt").read_text().splitlines()
    assert names == [f"{number:03d}.png" for number in range(KEPT)]


def test_done_stages_are_skipped(file, children, capsys) -> None:
    run(file)
    first = len(children.commands)
    # None of these makes a difference to a result.
    words = ["ALL.DATALOADER.NUM_WORKERS", 1, "ALL.SOLVER.CHECKPOINT_PERIOD", 2]
    assert run(file, *words) == 0
    assert len(children.commands) == first
    assert "stage 7 of 7, evaluate: done before" in capsys.readouterr().out


def test_a_child_that_fails_and_then_does_not(file, tmp_path, children, capsys) -> None:
    children.fails = lambda command: "pretrain" in command[-1]
    message = refused(capsys, file)
    assert "stage 5 of 7, pretrain failed: exit status 1" in message
    assert str(tmp_path / "out" / "stages" / "pretrain.log") in message
    assert shlex.join(children.commands[-1]) in message
    record = json.loads((tmp_path / "out" / "stages" / "pretrain.json").read_text())
    assert record["status"] == "started" and record["finished"] is None
    done = len(children.commands)
    children.fails = lambda command: False
    assert run(file) == 0
    expected = ["pretrain", "finetune", "evaluate/target", "evaluate/finetune"]
    assert children.stages()[done:] == expected
    record = json.loads((tmp_path / "out" / "stages" / "pretrain.json").read_text())
    assert record["status"] == "done" and record["attempts"] == 2


def test_changed_settings_are_refused(file, children, capsys) -> None:
    run(file)
    message = refused(capsys, file, "PRETRAIN.SOLVER.MAX_EPOCH", 4)
    assert "stage pretrain" in message and "SOLVER.MAX_EPOCH was 3, now it is 4" in message
    assert "delete stages/pretrain.json, pretrain/" in message
    assert "KEEP was 0.5, now it is 0.25" in refused(capsys, file, "KEEP", 0.25)


def test_what_is_made_again_makes_what_follows_old(file, tmp_path, children, capsys) -> None:
    run(file)
    out = tmp_path / "out"
    delete(out, "select", "selection")
    done = len(children.commands)
    message = refused(capsys, file, "KEEP", 0.25)
    assert "stage select is not done, but pretrain, finetune, evaluate in" in message
    assert "stages/evaluate.json, pretrain/, finetune/, evaluate/ there" in message
    assert len(children.commands) == done
    assert run(file, "--only", "select", "KEEP", 0.25) == 0  # alone it may be run again
    kept = json.loads((out / "stages" / "select.json").read_text())["sizes"]["kept"]
    assert kept == NUM_IMAGES // 4
    message = refused(capsys, file, "KEEP", 0.25)
    assert "stage pretrain" in message and "DATASETS.FILTERS[0].LIST has changed" in message
    delete(out, "select", "selection")
    assert run(file, "--only", "select") == 0  # as it was
    assert run(file) == 0
    assert children.stages()[done:] == ["select"] * 4


def delete(out: Path, stage: str, made: str) -> None:
    shutil.rmtree(out / made)
    (out / "stages" / f"{stage}.json").unlink()


def test_days_are_not_spent_on_what_others_cannot_use(file, tmp_path, children, capsys) -> None:
    """All later stages rest on the source, which is to be made anew."""
    run(file, "--only", "source", "target", "score")
    done = len(children.commands)
    delete(tmp_path / "out", "source", "source")
    message = refused(capsys, file)
    assert "stage source is not done, but target, score in" in message
    assert "Delete stages/target.json, stages/score.json, target/, scores/ there" in message
    delete(tmp_path / "out", "target", "target")
    assert "stage source is not done, but score in" in refused(capsys, file)
    assert len(children.commands) == done
    delete(tmp_path / "out", "score", "scores")
    assert run(file) == 0


def test_changed_files_are_refused_before_anything_runs(file, tmp_path, children, capsys) -> None:
    run(file)
    done = len(children.commands)
    delete(tmp_path / "out", "source", "source")
    (tmp_path / "out" / "pretrain" / "teacher_backbone.pth").write_text("another")
    message = refused(capsys, file, "--only", "source", "finetune")
    assert "stage finetune" in message
    assert "the file of MODEL.BACKBONE.PRETRAIN_PATH has changed" in message
    assert len(children.commands) == done


def test_what_is_of_another_run_is_refused_before_anything_runs(
    file, tmp_path, children, capsys
) -> None:
    (tmp_path / "out" / "selection").mkdir(parents=True)
    (tmp_path / "out" / "selection" / "CFS_list.pkl").touch()
    assert "it is of another run" in refused(capsys, file)
    assert not children.commands


def test_a_record_that_cannot_be_written_for_a_moment(
    file, tmp_path, children, capsys, monkeypatch
) -> None:
    """As on a network's disk: what has run for days goes on."""
    write = pipeline_records.write_record
    fails = [False, True]  # before the command, and when Children calls tick

    def failing(folder: Path, record: Record) -> None:
        if fails and fails.pop(0):
            raise UserError("cannot write the record: Stale file handle")
        write(folder, record)

    monkeypatch.setattr(pipeline_records, "write_record", failing)
    assert run(file, "--only", "source") == 0
    assert "source continues, but cannot write the record" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "stages" / "source.json").read_text())
    assert record["status"] == "done"
    fails[:] = [False, False, True]  # at the end it counts
    assert "error: cannot write the record" in refused(capsys, file, "--only", "target")


@pytest.mark.parametrize("where", ["check_stages", "write_report", "dry_run"])
def test_ctrl_c_between_the_stages(file, children, capsys, monkeypatch, where) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    module = {"check_stages": pipeline_checks, "write_report": pipeline_run}
    monkeypatch.setattr(module.get(where, pipeline_dry_run), where, interrupt)
    assert run(file, *(["--dry-run"] if where == "dry_run" else [])) == 130
    assert "interrupted: the same command resumes from here" in capsys.readouterr().err


def test_only_and_from(file, tmp_path, children, capsys) -> None:
    message = refused(capsys, file, "--only", "select")
    assert "stage select needs" in message and "run score first" in message
    assert not children.commands
    assert run(file, "--only", "source", "target", "KEEP", 0.25) == 0
    assert run(file, "--only", "score", "KEEP", 0.25) == 0
    assert children.stages() == DONE_ONCE[:3]
    assert run(file, "--from", "select") == 0
    assert children.stages()[:7] == DONE_ONCE
    assert "--only: 'scores' is unknown. Did you mean 'score'?" in refused(
        capsys, file, "--only", "scores"
    )
    words = ("--only", "score", "--from", "select")
    assert "leave one of them out" in refused(capsys, file, *words)


def test_from_takes_what_others_have_made(file, tmp_path, children, capsys) -> None:
    run(file, "--only", "source", "target", "score", "select")
    (tmp_path / "out" / "stages" / "source.json").unlink()
    assert "it is of another run" in refused(capsys, file)
    assert run(file, "--from", "pretrain") == 0
    (tmp_path / "out" / "source" / "teacher_backbone.pth").unlink()
    assert run(file, "--from", "pretrain") == 0  # needs it no more


def test_a_stage_that_is_begun_is_not_begun_from(file, children, capsys) -> None:
    children.fails = lambda command: "target" in command[-1]
    refused(capsys, file)
    message = refused(capsys, file, "--from", "score")
    assert "which stage target has started and not finished" in message


def test_outputs_that_are_gone(file, tmp_path, children, capsys) -> None:
    run(file)
    (tmp_path / "out" / "source" / "model_final.pth").unlink()
    assert "stage source is done, but" in refused(capsys, file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("SOURCE.SOLVER.MAXEPOCH 3", "stage source: command-line options: there is no key"),
        ("FINETUNE.SOLVER.OPT Adm", "stage finetune: SOLVER.OPT: 'Adm' is unknown"),
        ("FINETUNE.CONFIG no.yml", "stage finetune: there is no config file 'no.yml'"),
        ("FINETUNE.DATASETS.NAMES ('DukeMTMC',)", "stage finetune: data set DukeMTMC is not"),
        ("FINETUNE.MODEL.BACKBONE.PRETRAIN_GRID [3,3]", "stage finetune: "),
        ("TARGET.MODEL.BACKBONE.STEM ics", "stage target: "),
        ("SOURCE.DINO.MOMENTUM 2.0", "stage source: DINO.MOMENTUM is 2"),
        ("PRETRAIN.SOLVER.IMS_PER_BATCH 16", "stage pretrain: 12 selected images"),
        ("SOURCE.SOLVER.IMS_PER_BATCH 32", "stage source: ImageFolder:pool: 24 images are fewer"),
        ("TARGET.INPUT.SIZE_TEST [48,16]", "INPUT.SIZE_TEST is [32, 16] in stage source and"),
        ("PRETRAIN.DATASETS.NAMES ('Market1501',)", "DATASETS.NAMES is ['ImageFolder:pool'] in"),
        ("EVALUATE.TESTS ('Market',)", "stage evaluate: EVALUATE.TESTS: 'Market' is unknown"),
    ],
)
def test_all_configs_are_checked_before_anything_runs(
    file, children, capsys, words, message
) -> None:
    assert message in refused(capsys, file, *words.split())
    assert not children.commands


def test_names_that_no_list_can_hold(file, data, tmp_path, monkeypatch, children, capsys) -> None:
    shutil.copytree(data, tmp_path / "data")
    first = next((tmp_path / "data" / "pool").rglob("*.png"))
    first.rename(first.with_name("#1.png"))
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "data"))
    message = refused(capsys, file)
    assert "stage select: a text list cannot hold the name '#1.png'" in message
    assert "rename the image" in message and not children.commands


def test_what_pre_trains_is_dino(tmp_path, file, children, capsys) -> None:
    message = refused(capsys, file, "SOURCE.CONFIG", tmp_path / "transreid.yml")
    assert "stage source: MODEL.META_ARCHITECTURE is 'TransReID'" in message


def test_a_disk_that_is_too_small(file, children, capsys, monkeypatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: usage)
    message = refused(capsys, file)
    assert "0.0 GiB are free, the checkpoints need about" in message
    assert "SOLVER.CHECKPOINT_PERIOD" in message


def test_a_target_without_labels(tmp_path, file, children) -> None:
    words = ["TARGET.CONFIG", tmp_path / "dino.yml", "TARGET.DATASETS.NAMES", "('Market1501',)"]
    assert run(file, *words, "EVALUATE.TESTS", "('Market1501',)") == 0
    score = children.commands[2]
    weights = tmp_path / "out" / "target" / "teacher_backbone.pth"
    assert option(score, "--target-weights") == str(weights)
    record = json.loads((tmp_path / "out" / "stages" / "target.json").read_text())
    assert record["title"] == "DINO on the target"


def test_a_dry_run(file, tmp_path, children, capsys) -> None:
    run(file, "--only", "source")
    capsys.readouterr()
    assert run(file, "--dry-run") == 0
    assert len(children.commands) == 1
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    table = {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}
    assert list(table) == [*STAGES]
    assert [row["state"] for row in table.values()] == ["done"] + ["to do"] * 6
    assert [row["images"] for row in table.values()] == ["24", "24", "24", "24", "12", "24", "27"]
    assert table["select"]["kept"] == "12" and table["target"]["ids"] == "4"
    # 12 images in batches of 4, 3 epochs
    assert table["pretrain"]["iterations"] == "9"
    assert not table["source"]["time"].startswith("~")
    assert table["pretrain"]["time"].startswith("~")
    assert "ESTIMATE" in lines[-3] + lines[-2] + lines[-1]


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", None), ("bf16", torch.bfloat16)])
def test_times_are_those_of_each_stages_precision(
    file, children, monkeypatch, precision, dtype
) -> None:
    """Training in AMP's type; scoring as SCORE.PRECISION says; evaluation in float32."""
    measured = set()

    def measure(cfg, device: str, training: bool, dtype: torch.dtype | None) -> float:
        measured.add((training, dtype))
        return 1e12

    monkeypatch.setattr(pipeline_operations, "_measured", measure)
    words = ["ALL.SOLVER.AMP.ENABLED", "True", "ALL.SOLVER.AMP.DTYPE", "bf16"]
    words += ["ALL.MODEL.DEVICE", "cpu", "SCORE.PRECISION", precision]
    assert run(file, "--dry-run", *words) == 0
    assert measured == {(True, torch.bfloat16), (False, dtype), (False, None)}


def test_a_dry_run_makes_nothing(file, tmp_path, children) -> None:
    assert run(file, "--dry-run") == 0
    assert not (tmp_path / "out").exists()


def test_a_second_pipeline_is_kept_out(file, tmp_path) -> None:
    folder = tmp_path / "out"
    holds = (
        "import sys; from pathlib import Path; from cfs.pipeline import run\n"
        "with run._alone(Path(sys.argv[1])): print('held', flush=True); input()"
    )
    line = [sys.executable, "-c", holds, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.Popen(line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match="another pipeline is running"):
        pipeline_run.run_pipeline(file)
    other.communicate(b"\n")


def test_stages_of_ones_own(tmp_path, file, children) -> None:
    """As the study's arms: recorded, skipped, compared like those of a pipeline."""
    out = tmp_path / "arms"
    config = str(tmp_path / "transreid.yml")
    record = pipeline_run.run_training(out, "scratch", "from scratch", config, ["SEED", 3])
    assert record.done and record.outputs["weights"] == "scratch/model_final.pth"
    (out / "scratch" / "config.yaml").write_text(transreid_cfg().dump())
    tests = ["Market1501"]
    rows = pipeline_run.run_evaluation(out, "eval_scratch", {"scratch": "from scratch"}, tests)
    assert rows[0]["model"] == "scratch" and rows[0]["Rank-1"] == 60.0
    assert len(children.commands) == 2
    pipeline_run.run_training(out, "scratch", "from scratch", config, ["SEED", 3])
    assert len(children.commands) == 2
    with pytest.raises(UserError, match="SEED was 3, now it is 4"):
        pipeline_run.run_training(out, "scratch", "from scratch", config, ["SEED", 4])


def test_random_numbers_of_the_caller_stay(file, children) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(file, "--dry-run")
    assert torch.equal(torch.rand(3), expected)
