"""The ablation on a data set of choice: its arms, and the whole of it in miniature."""

from __future__ import annotations

import pytest
from fastreid.modeling import build_model
from reid_commands.studies import ablation
from reid_common.errors import UserError
from synthetic import write_market
from transreid import load_config, resolve_side_information

NAME = "Market1501:identities=5"
OPTIONS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NUM_BLOCKS": 2,
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.WARMUP_ITERS": 0,
    "TEST.EVAL_PERIOD": 1,
}


@pytest.fixture(autouse=True)
def _market(tmp_path, monkeypatch) -> None:
    write_market(tmp_path, num_train_ids=8, num_test_ids=6)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))


@pytest.mark.parametrize(
    ("line", "prefix"),
    [([], "small_cpu_"), (["--recipe", "cpu"], "small_cpu_"), (["--recipe", "gpu"], "small_")],
)
def test_arms_of_a_data_set(line, prefix) -> None:
    args = ablation.parser().parse_args(["--dataset", NAME, *line])
    arms = [*ablation.arms(args)]
    names = ["base", "jpm", "sie", "transreid"]
    assert [arm.config.rpartition("/Market1501/")[2] for arm in arms] == [
        f"{prefix}{name}.yml" for name in names
    ]
    assert [arm.folder for arm in arms] == [prefix + name for name in names]
    for arm, camera, head in zip(arms, (0, 0, 3, 3), ("", "JPM", "", "JPM"), strict=True):
        cfg = load_config(arm.config, [*arm.options, "MODEL.DEVICE", "cpu"])
        assert cfg.DATASETS.NAMES == cfg.DATASETS.TESTS == (NAME,)
        resolve_side_information(cfg)
        assert camera == cfg.MODEL.SIE.NUM_CAMERAS and not cfg.MODEL.SIE.VIEW
        assert ("JPM" in cfg.MODEL.HEADS.NAME) == bool(head)
        if prefix == "small_cpu_":
            cfg.defrost()
            cfg.MODEL.HEADS.NUM_CLASSES = 5
            build_model(cfg)


def test_without_a_data_set_it_is_toyreid() -> None:
    arms = [*ablation.arms(ablation.parser().parse_args([]))]
    assert [arm.folder for arm in arms] == [
        f"vit_tiny_{name}" for name in ("base", "jpm", "sie", "transreid")
    ]
    assert all("ToyReID/vit_tiny" in arm.config and not arm.options for arm in arms)
    with pytest.raises(UserError, match="--recipe gpu is for photographs"):
        [*ablation.arms(ablation.parser().parse_args(["--recipe", "gpu"]))]


def test_the_study_in_miniature(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    options = [str(part) for pair in OPTIONS.items() for part in pair]
    line = ["--dataset", NAME, "--seeds", "1", *options]
    assert ablation.main(line) == 0
    out = tmp_path / "logs" / "ablation_Market1501_identities_5"
    table = (out / "ablation.md").read_text()
    printed = capsys.readouterr().out
    assert [row.split(" | ")[0].strip("| ") for row in table.splitlines()[2:]] == [*ablation.TITLES]
    paired = printed[printed.rindex(table) + len(table) :].strip().splitlines()
    assert [row.split(" | ")[:2] for row in paired[2:]] == [
        [f"| {title}", "1"] for title in [*ablation.TITLES][1:]
    ]
    assert "mAP (95% interval over identities)" in paired[0] and ", p " in paired[-1]
    (out / "small_cpu_sie" / "seed1" / "results_another.npz").touch()  # somebody's own
    assert ablation.main(line) == 0
    assert paired == capsys.readouterr().out.strip().splitlines()[-len(paired) :]
    (out / "small_cpu_sie" / "seed1" / "results_Market1501_identities_5.npz").unlink()
    assert ablation.main(line) == 0
    assert (
        "there is no logs/ablation_Market1501_identities_5/small_cpu_sie/seed1/results_"
        in (capsys.readouterr().out.strip().splitlines()[-1])
    )


@pytest.mark.parametrize(("key", "option"), [("SEED", "--seeds"), ("OUTPUT_DIR", "--out")])
def test_what_each_run_has_of_its_own_is_refused(tmp_path, key, option, capsys) -> None:
    with pytest.raises(SystemExit):
        ablation.main(["--out", str(tmp_path / "out"), key, "5"])
    assert f"write {option} instead of {key}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
