"""Checkpoints: what is read, what must fit, what is kept, and that a write is all or nothing."""

from __future__ import annotations

import io
import os
import resource
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastreid.config import get_cfg
from fastreid.engine.defaults import DefaultPredictor
from fastreid.modeling import build_model
from fastreid.utils.checkpoint import Checkpointer
from fastreid_compat.repairs.checkpoints.checkpoint_files import AtomicPathManager
from fastreid_compat.repairs.checkpoints.checkpoints import check_fit
from reid_common.errors import UserError
from small_trainer import ITERS_PER_EPOCH, KillAt, Killed, SmallModel, SmallTrainer, small_cfg
from torch import nn


@pytest.fixture
def cfg(tmp_path: Path):
    return small_cfg(tmp_path / "logs")


@pytest.fixture
def model() -> nn.Module:
    return SmallModel(5)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_plain_data_beside_the_weights_load(model, tmp_path):
    extra = {
        "metric": np.float32(0.5),
        "array": np.arange(3),
        "lists": defaultdict(list, {"a": [1]}),
        "ordered": OrderedDict(a=1),
        "cfg": get_cfg(),
    }
    path = tmp_path / "extra.pth"
    torch.save({"model": model.state_dict(), **extra}, path)
    loaded = Checkpointer(SmallModel(5)).load(str(path))
    assert loaded["metric"] == 0.5
    np.testing.assert_array_equal(loaded["array"], [0, 1, 2])
    assert loaded["lists"] == {"a": [1]}
    assert loaded["ordered"] == {"a": 1}
    assert loaded["cfg"]["SOLVER"]["MAX_EPOCH"] == get_cfg().SOLVER.MAX_EPOCH


def test_numpy_1_files_load(model, tmp_path):
    buffer = io.BytesIO()
    content = {"model": model.state_dict(), "metric": np.float64(0.5)}
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    path = tmp_path / "numpy1.pth"
    path.write_bytes(buffer.getvalue().replace(b"numpy._core.multi", b"numpy.core.multi"))
    assert Checkpointer(SmallModel(5)).load(str(path))["metric"] == 0.5


def test_code_in_a_checkpoint_is_refused(model, tmp_path):
    path = tmp_path / "objects.pth"
    torch.save({"model": model.state_dict(), "args": SimpleNamespace(lr=1)}, path)
    with pytest.raises(UserError, match=r"objects.pth holds types.SimpleNamespace objects"):
        Checkpointer(model).load(str(path))


def test_damaged_file(model, tmp_path):
    path = tmp_path / "half.pth"
    torch.save({"model": model.state_dict()}, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"half.pth cannot be read"):
        Checkpointer(model).load(str(path))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_bare_state_dict(model, tmp_path, prefix):
    path = tmp_path / "bare.pth"
    torch.save({prefix + key: value for key, value in model.state_dict().items()}, path)
    other = SmallModel(5)
    assert not same(model, other)
    Checkpointer(other).load(str(path))
    assert same(model, other)


def test_file_without_weights(model, tmp_path):
    path = tmp_path / "none.pth"
    torch.save({"epoch": 3, "loss": 0.1}, path)
    with pytest.raises(UserError, match=r"none.pth holds no weights.*\['epoch', 'loss'\]"):
        Checkpointer(model).load(str(path))


def test_other_architecture(model, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"model": nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8)).state_dict()}, path)
    with pytest.raises(UserError) as info:
        Checkpointer(model).load(str(path))
    message = str(info.value)
    assert f"of {len(model.state_dict())} tensors in the model and 4 in the file only 0" in message
    assert "other.pth" in message
    assert "backbone.0.weight [8, 6], backbone.0.bias [8], backbone.1.weight [8]" in message
    assert "0.weight [8, 6], 0.bias [8], 1.weight [8, 8]" in message
    assert "config.yaml" in message


def test_other_classifier_is_skipped(model, tmp_path, caplog):
    path = tmp_path / "classes.pth"
    torch.save({"model": model.state_dict()}, path)
    other = SmallModel(7)
    Checkpointer(other).load(str(path))
    assert torch.equal(other.backbone[0].weight, model.backbone[0].weight)
    assert other.heads.weight.shape == (7, 8)


@pytest.mark.parametrize("num_matching", [2, 3])
def test_half_of_the_tensors_is_enough(num_matching):
    names = ["a", "b", "c", "d", "e"]
    model = {name: torch.zeros(2) for name in names}
    weights = {name: torch.zeros(2) for name in names[:num_matching]}
    if num_matching == 3:
        check_fit(model, weights, "file.pth")
    else:
        with pytest.raises(UserError, match="only 2 agree"):
            check_fit(model, weights, "file.pth")


def test_missing_weights_file(cfg):
    cfg.MODEL.WEIGHTS = "/nowhere/model.pth"
    with pytest.raises(UserError, match=r"no checkpoint '/nowhere/model.pth'.*MODEL.WEIGHTS"):
        SmallTrainer(cfg).resume_or_load(resume=False)


def test_reid_model_saves_and_loads(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.HEADS.NUM_CLASSES = 4
    model = build_model(tiny_cfg).eval()
    Checkpointer(model, str(tmp_path)).save("reid")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "reid.pth")
    images = torch.rand(2, 3, 64, 32) * 255
    with torch.no_grad():
        expected = model({"images": images.clone()})
    assert torch.equal(DefaultPredictor(tiny_cfg)(images), expected)


def test_failed_write_keeps_the_old_checkpoint(model, tmp_path):
    checkpointer = Checkpointer(model, str(tmp_path))
    checkpointer.save("model_a")
    before = (tmp_path / "model_a.pth").read_bytes()
    nn.init.zeros_(model.heads.weight)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a disk that is full
    try:
        with pytest.raises(UserError, match=r"cannot write .*model_a.pth.*make room"):
            checkpointer.save("model_a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "model_a.pth").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_a.pth"]
    checkpointer.save("model_a")
    assert (tmp_path / "model_a.pth").read_bytes() != before


def test_last_checkpoint_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "last_checkpoint"
    path.write_text("model_0000.pth")
    with pytest.raises(Killed), AtomicPathManager.open(str(path), "w") as file:
        file.write("model_00")
        file.flush()
        assert path.read_text() == "model_0000.pth"
        raise Killed
    assert os.listdir(tmp_path) == ["last_checkpoint"]
    with AtomicPathManager.open(str(path), "w") as file:
        file.write("model_0001.pth")
    with AtomicPathManager.open(str(path)) as file:
        assert file.read() == "model_0001.pth"


def test_best_metric_survives_resume(cfg, monkeypatch):
    monkeypatch.setattr(SmallTrainer, "scores", (50.0, 10.0, 20.0))
    trainer = SmallTrainer(cfg)
    trainer.register_hooks([KillAt(2 * ITERS_PER_EPOCH)])
    with pytest.raises(Killed):
        trainer.train()
    best = Path(cfg.OUTPUT_DIR) / "model_best.pth"
    assert torch.load(best)["metric"] == 50.0
    monkeypatch.setattr(SmallTrainer, "scores", (20.0,))
    trainer = SmallTrainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    assert torch.load(best)["metric"] == 50.0
    final = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    assert (final["metric"], final["best_metric"], final["epoch"]) == (20.0, 50.0, 2)


def interrupted(cfg) -> None:
    trainer = SmallTrainer(cfg)
    trainer.register_hooks([KillAt(ITERS_PER_EPOCH)])
    with pytest.raises(Killed):
        trainer.train()


def test_resume_with_other_parameter_groups(cfg):
    interrupted(cfg)
    cfg.SOLVER.BIAS_LR_FACTOR = 2.0  # biases get a buffer of their own
    with pytest.raises(UserError, match=r"optimizer state in .*model_0000.pth.*parameter group"):
        SmallTrainer(cfg).resume_or_load(resume=True)


def test_resume_with_other_identities(cfg, monkeypatch):
    interrupted(cfg)
    monkeypatch.setattr(SmallTrainer, "build_model", lambda self, cfg: SmallModel(7))
    with pytest.raises(UserError, match=r"optimizer state .*exp_avg is \[\d+\], the parameters"):
        SmallTrainer(cfg).resume_or_load(resume=True)
