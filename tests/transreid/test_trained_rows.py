"""Rows of the SIE table that no training image had count as unknown."""

from __future__ import annotations

import pytest
import torch
from fastreid.modeling import build_model
from reid_common.errors import UserError
from reid_core.run.feature_inputs import state_digest
from reid_core.side_information.trained import RECORD, pairs_of_images
from small_inference import picture, small_cfg, write_model
from torch import Tensor
from transreid import FeatureExtractor, load_weights, resolve_side_information
from transreid.engine.embedding_watch import TransReIDTrainer
from transreid.modeling.side_embedding import SideInformationEmbedding
from transreid.weights.formats import side_information_of_weights


def trained(unknown: str = "mean", table: str = "joint") -> SideInformationEmbedding:
    """3 cameras and 3 viewpoints; images of (0, 0), (0, 1), (1, 0): never camera 2, view 2."""
    sie = SideInformationEmbedding(3, 3, 4, sie_coe=1.0, unknown=unknown, table=table)
    sie.note_training_images([0, 0, 1], [0, 1, 0])
    return sie


def given(sie: SideInformationEmbedding, camera: int, view: int) -> Tensor:
    return sie(torch.tensor([camera]), torch.tensor([view]))[0, 0].detach()


def test_what_is_not_trained_gets_the_mean_of_what_is() -> None:
    sie = trained()
    rows = sie.sie_embed.detach().view(3, 3, 4)
    everything = (rows[0, 0] + rows[0, 1] + rows[1, 0]) / 3
    expected = {
        (0, 1): rows[0, 1],  # trained
        (2, 0): (rows[0, 0] + rows[1, 0]) / 2,  # the camera is unknown, the viewpoint is not
        (-1, 0): (rows[0, 0] + rows[1, 0]) / 2,
        (0, 2): (rows[0, 0] + rows[0, 1]) / 2,  # the viewpoint is unknown
        (0, -1): (rows[0, 0] + rows[0, 1]) / 2,
        (1, 1): rows[1, 0],  # they never met: what the camera has without a viewpoint
        (2, 2): everything,
        (-1, 2): everything,
        (-1, -1): everything,
    }
    for (camera, view), row in expected.items():
        torch.testing.assert_close(given(sie, camera, view), row, msg=f"{camera}, {view}")


def test_the_policies_zero_and_error() -> None:
    zero, error = trained("zero"), trained("error")
    for camera, view in ((2, 0), (0, 2), (1, 1)):
        assert not given(zero, camera, view).any()
        with pytest.raises(UserError, match=f"camera {camera} and viewpoint {view}.*no training"):
            given(error, camera, view)
    torch.testing.assert_close(given(zero, 1, 0), zero.sie_embed[3, 0].detach())
    torch.testing.assert_close(given(error, 1, 0), error.sie_embed[3, 0].detach())


def test_an_additive_table_needs_no_images_of_the_pair() -> None:
    for policy in ("mean", "zero", "error"):
        sie = trained(policy, "additive")
        cameras, views = sie.sie_camera.detach()[:, 0], sie.sie_view.detach()[:, 0]
        torch.testing.assert_close(given(sie, 1, 1), cameras[1] + views[1])
    zero = trained("zero", "additive")
    torch.testing.assert_close(given(zero, 1, 2), zero.sie_camera[1, 0].detach())
    torch.testing.assert_close(given(zero, 2, 1), zero.sie_view[1, 0].detach())
    assert not given(zero, 2, 2).any()


def test_images_without_a_viewpoint_train_those_of_their_camera() -> None:
    # camera 1 has no viewpoint of its own: it gets those that are seen; camera 0 keeps its own
    assert pairs_of_images([0, 1, 0, -1], [1, -1, -1, -1], 3, 2).tolist() == [
        [False, True],
        [False, True],
        [False, False],
    ]
    assert pairs_of_images([0, 2], [-1, -1], 3, 0).tolist() == [[True], [False], [True]]


def test_a_checkpoint_without_the_record_is_as_before() -> None:
    sie = trained()
    old = {key: value for key, value in sie.state_dict().items() if key != RECORD}
    loaded, plain = (SideInformationEmbedding(3, 3, 4, sie_coe=1.0) for _ in range(2))
    loaded.load_state_dict(old)
    assert loaded.known().all()
    torch.testing.assert_close(given(loaded, 2, 2), sie.sie_embed[8, 0].detach())
    torch.testing.assert_close(given(loaded, -1, -1), sie.sie_embed.detach().mean((0, 1)))
    plain.sie_embed.data.copy_(sie.sie_embed.data)
    assert torch.equal(loaded.table(), plain.table())
    # A training that continues from it has all its rows: nobody knows which were trained.
    loaded.note_training_images([0], [0])
    assert loaded.known().all()
    model, other = torch.nn.ModuleDict({"sie": plain}), torch.nn.ModuleDict({"sie": loaded})
    assert state_digest(model) == state_digest(other)  # features of before compare as equal


def test_trained_saved_and_used(transreid_cfg, market_root, tmp_path, caplog) -> None:
    """NUM_CAMERAS is 8, the training images have 3 cameras."""
    cfg = transreid_cfg
    cfg.MODEL.SIE.NUM_CAMERAS = 8
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.MAX_EPOCH, cfg.TEST.EVAL_PERIOD = 1, 0
    cfg.OUTPUT_DIR = str(tmp_path)
    resolve_side_information(cfg)
    trainer = TransReIDTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
    record = side_information_of_weights(cfg)[RECORD]
    assert record.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]

    extractor = FeatureExtractor(cfg, cfg.MODEL.WEIGHTS, device="cpu")
    with pytest.raises(UserError, match=r"camids holds 5, .* are of \[0, 1, 2\] alone"):
        extractor(picture(0), camids=5)
    assert extractor(picture(0), camids=2).shape[0] == 1

    # Another table: rows are matched by name, and stay untrained or trained.
    other = cfg.clone()
    other.defrost()
    other.DATASETS.CAMERAS = ("msmt17:2", "market1501:4")
    other.MODEL.SIE.NUM_CAMERAS, other.MODEL.HEADS.NUM_CLASSES = 6, 4
    model = build_model(other)
    load_weights(model, cfg.MODEL.WEIGHTS)
    assert model.backbone.sie.known().flatten().tolist() == [False, False, True, True, True, False]


def test_a_test_camera_of_a_spare_row_is_told_before_the_run(
    transreid_cfg, market_root, caplog, monkeypatch
) -> None:
    cfg = transreid_cfg
    caplog.set_level("INFO")
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    cfg.DATASETS.NAMES = ("Market1501:cameras=1-2",)
    cfg.DATASETS.TESTS = ("Market1501",)
    cfg.MODEL.SIE.NUM_CAMERAS = 5
    resolve_side_information(cfg)
    line = (
        "the test set Market1501 has cameras [2] (0-based) that no training image has: to the SIE"
    )
    assert line in caplog.text
    # In an evaluation the record of the weights says it.
    caplog.clear()
    cfg.DATASETS.CAMERAS = ()
    sie = SideInformationEmbedding(5, 0, 4, camera_table="market1501:5")
    sie.note_training_images([0, 1], [-1, -1])
    resolve_side_information(cfg, sie.state_dict())
    assert line in caplog.text
    cfg.MODEL.SIE.UNKNOWN, cfg.DATASETS.CAMERAS = "error", ()
    with pytest.raises(UserError, match="no training image has"):
        resolve_side_information(cfg, sie.state_dict())


def test_untrained_viewpoints_are_refused_by_the_extractor(tmp_path) -> None:
    cfg = small_cfg(MODEL__SIE__VIEW=True, MODEL__SIE__NUM_VIEWS=2)
    path = write_model(tmp_path, cfg)
    content = torch.load(path)
    content["model"][f"backbone.sie.{RECORD}"] = torch.tensor([1, 0] * 3, dtype=torch.uint8)
    torch.save(content, path)
    extractor = FeatureExtractor(cfg, path, device="cpu")
    with pytest.raises(UserError, match=r"viewids holds 1, .* are of \[0\] alone"):
        extractor(picture(0), camids=0, viewids=1)
    assert len(extractor(picture(0), camids=0, viewids=0)) == 1
