"""Training and evaluation on one's own images by overrides, through the real tool."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fastreid.engine import default_argument_parser
from transreid import training

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml")
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NUM_BLOCKS": 2,
    "MODEL.SIE.NUM_CAMERAS": 0,
    "MODEL.SIE.NUM_VIEWS": 0,
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 2,
    "SOLVER.WARMUP_ITERS": 0,
    "TEST.EVAL_PERIOD": 2,
}


def run(folder: Path, name: str, *arguments: str, **changes: object) -> dict:
    """Run train_net with a data set for training and testing, and some keys changed."""
    keys = {**SMALL, "DATASETS.NAMES": f'("{name}",)', "DATASETS.TESTS": f'("{name}",)'}
    keys["OUTPUT_DIR"] = folder / "logs"
    keys.update({key.replace("__", "."): value for key, value in changes.items()})
    opts = [str(word) for pair in keys.items() for word in pair]
    parsed = ["--config-file", CONFIG, *arguments, *opts]
    return training.train_or_evaluate(default_argument_parser().parse_args(parsed))


@pytest.fixture
def images(market_root, tmp_path, monkeypatch) -> list[tuple[str, str, str, str]]:
    """(image, identity, split, camera) of the tiny Market-1501, copied out of its layout."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    rows = []
    for split, folder in (("train", "bounding_box_train"), ("test", "bounding_box_test")):
        for path in sorted((market_root / "Market-1501-v15.09.15" / folder).glob("*.jpg")):
            identity, camera, number, _ = path.name.split("_")
            name = f"{split}/person {int(identity)}/{camera}/{number}.jpg"
            (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "shop" / name)
            rows.append((name, f"person {int(identity)}", split, camera))
    return rows


def test_a_folder_with_cameras(images, tmp_path) -> None:
    """Cameras are embedded and known again in the test; 9 queries are chosen of 18 images."""
    trained = run(tmp_path, "FolderReID:shop", MODEL__SIE__VIEW=False)
    log = (tmp_path / "logs/log.txt").read_text()
    assert "MODEL.SIE.NUM_CAMERAS = 3: shop:3" in log
    assert "| shop " in log, "the table of results names the folder"
    assert 0 < trained["mAP"] <= 100
    weights = str(tmp_path / "logs/model_final.pth")
    again = run(
        tmp_path, "FolderReID:shop", "--eval-only", MODEL__SIE__VIEW=False, MODEL__WEIGHTS=weights
    )
    assert again["mAP"] == pytest.approx(trained["mAP"], abs=1e-4)


def test_a_table_with_viewpoints_and_some_unknown_cameras(images, tmp_path) -> None:
    lines = ["image,identity,split,camera,view"]
    for index, (name, identity, split, camera) in enumerate(images):
        view = "" if index % 5 == 4 else str(index % 2)
        lines.append(f"{name},{identity},{split},{'' if index % 7 == 6 else camera},{view}")
    (tmp_path / "shop" / "list.csv").write_text("\n".join(lines))
    trained = run(tmp_path, "CSVReID:shop/list.csv")
    log = (tmp_path / "logs/log.txt").read_text()
    assert "MODEL.SIE.NUM_VIEWS = 2" in log and "list:3" in log
    assert 0 < trained["mAP"] <= 100


def test_a_table_without_cameras(images, tmp_path) -> None:
    lines = [",".join(row[:3]) for row in images]
    (tmp_path / "shop" / "list.csv").write_text("\n".join(["image,identity,split", *lines]))
    off = {"MODEL__SIE__VIEW": False, "MODEL__SIE__CAMERA": False}
    assert 0 < run(tmp_path, "CSVReID:shop/list.csv", **off)["mAP"] <= 100


@pytest.mark.parametrize(
    "name, message",
    [
        ("FolderReID:nowhere", "there is no 'nowhere', nor '"),
        ("FolderReID", "FolderReID needs an argument, as in 'FolderReID:/data/shop'"),
        ("ForderReID:shop", "'ForderReID' is unknown. Did you mean 'FolderReID'"),
    ],
)
def test_bad_names_end_in_one_message(images, tmp_path, capsys, name, message) -> None:
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, name)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
