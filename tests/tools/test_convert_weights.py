"""tools/convert_weights.py: any format to ours, ours to the released one, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fastreid.modeling import build_model
from reid_commands import convert_weights
from reid_core.config import load_config
from reid_core.side_information.stored import decode_table
from transreid import load_weights
from transreid.weights.released import to_released

CONFIG = str(
    Path(__file__).parents[2] / "projects/TransReID/configs/Market1501/vit_transreid_stride.yml"
)
SMALL = [
    *("MODEL.BACKBONE.TIMM_NAME", "vit_tiny_patch16_224", "MODEL.BACKBONE.FEAT_DIM", "192"),
    *("MODEL.BACKBONE.NUM_BLOCKS", "3", "MODEL.BACKBONE.PRETRAIN", "False"),
]


def run(*words: str) -> None:
    assert convert_weights.main([*words, *SMALL]) == 0


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))  # no data set anywhere
    torch.manual_seed(3)
    cfg = load_config(CONFIG, [*SMALL, "MODEL.HEADS.NUM_CLASSES", "5", "MODEL.DEVICE", "cpu"])
    return build_model(cfg).eval()


def features(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(0)
    batch = {"images": torch.rand(2, 3, 256, 128) * 255, "camids": torch.tensor([0, 5])}
    with torch.no_grad():
        return model(batch)


def test_rows_that_were_not_trained_are_released_as_they_are_used(model, tmp_path) -> None:
    """The released format has no record of trained rows: random ones must not get into it."""
    ours, released = (str(tmp_path / f"{name}.pth") for name in ("ours", "released"))
    model.backbone.sie.note_training_images([0, 1, 2, 3], [-1] * 4)  # of 6 cameras
    torch.save({"model": model.state_dict()}, ours)
    run(ours, "-o", released, "--to", "released", "--config-file", CONFIG)
    table = torch.load(released, weights_only=True)["base.sie_embed"]
    own = model.backbone.sie.sie_embed.detach()
    assert torch.equal(table[:4], own[:4])
    torch.testing.assert_close(table[4:], own[:4].mean(0, keepdim=True).expand(2, -1, -1))


def test_round_trip_gives_identical_features(model, tmp_path) -> None:
    released, ours, again = (str(tmp_path / f"{n}.pth") for n in ("released", "ours", "again"))
    state = {f"module.{key}": value for key, value in to_released(model.state_dict()).items()}
    torch.save(state, released)
    run(released, "-o", ours, "--config-file", CONFIG)
    content = torch.load(ours, weights_only=True)["model"]
    assert set(content) == set(model.state_dict())  # the five classifiers of 5 classes included
    assert decode_table(content["backbone.sie.camera_table"]) == "market1501:6"
    run(ours, "-o", again, "--to", "released", "--config-file", CONFIG)
    written = torch.load(again, weights_only=True)
    assert all(torch.equal(value, state[f"module.{key}"]) for key, value in written.items())
    assert len(written) == len(state)
    expected = features(model)
    for path in (ours, again):
        other = build_model(load_config(CONFIG, [*SMALL, "MODEL.DEVICE", "cpu"])).eval()
        load_weights(other, path)
        assert torch.equal(features(other), expected)


def test_bad_input_is_one_message(model, tmp_path, capsys) -> None:
    path = str(tmp_path / "weights.pth")
    torch.save(to_released(model.state_dict()), path)
    for words, message in (
        ([path, "-o", str(tmp_path / "x.pth")], "--config-file is needed"),
        (["absent.pth", "-o", "x.pth", "--config-file", CONFIG], "no checkpoint 'absent.pth'"),
        (
            [path, "-o", str(tmp_path / "weights.pth" / "x.pth"), "--config-file", CONFIG],
            "cannot write",
        ),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(*words)
        assert message in capsys.readouterr().err
