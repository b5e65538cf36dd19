"""Runs that cannot work are refused before they start, with the key and the remedy."""

from __future__ import annotations

import itertools
import os
from collections import Counter

import numpy as np
import pytest
from fastreid.data.samplers import (
    BalancedIdentitySampler,
    NaiveIdentitySampler,
    SetReWeightSampler,
)
from fastreid.engine import DefaultTrainer
from fastreid.utils import comm
from PIL import Image
from reid_common.errors import UserError
from reid_common.image_files import check_images
from reid_core.run.preflight import preflight
from reid_core.run.validation import check_output_dir, validate_config


def set_key(cfg, key, value):
    node = cfg
    *path, name = key.split(".")
    for part in path:
        node = node[part]
    node[name] = value


def test_a_good_config_passes(tiny_cfg):
    validate_config(tiny_cfg)
    validate_config(tiny_cfg, world_size=2)
    preflight(tiny_cfg)
    preflight(tiny_cfg, eval_only=True)
    assert os.listdir(tiny_cfg.OUTPUT_DIR) == []


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("MODEL.META_ARCHITECTURE", "BaseLine", "Did you mean 'Baseline'"),
        ("MODEL.BACKBONE.NAME", "resnet_backbone", "Did you mean 'build_resnet_backbone'"),
        ("MODEL.HEADS.NAME", "EmbedingHead", "Did you mean 'EmbeddingHead'"),
        ("SOLVER.OPT", "adamw", "Did you mean 'AdamW'"),
        ("SOLVER.SCHED", "CosineLR", "Known: CosineAnnealingLR, MultiStepLR"),
        ("DATALOADER.SAMPLER_TRAIN", "NaiveSampler", "Did you mean 'NaiveIdentitySampler'"),
        ("TEST.METRIC", "l2", "Known: cosine, euclidean"),
        ("DATASETS.NAMES", ("Market-1501",), "Did you mean 'Market1501'"),
        ("DATASETS.TESTS", ("Duke",), "DukeMTMC"),
        ("INPUT.SIZE_TRAIN", [256], r"is \[256\]; write \[height, width\] in pixels"),
        ("INPUT.SIZE_TEST", [256, 0], r"is \[256, 0\]; write \[height, width\]"),
        ("SOLVER.IMS_PER_BATCH", 9, "multiple of DATALOADER.NUM_INSTANCE"),
        ("SOLVER.IMS_PER_BATCH", 0, "at least 1"),
        ("DATALOADER.NUM_INSTANCE", 0, "write a whole number of at least 1"),
        ("DATALOADER.NUM_INSTANCE", 16, "multiple of DATALOADER.NUM_INSTANCE"),
        ("TEST.IMS_PER_BATCH", 0, "TEST.IMS_PER_BATCH is 0"),
    ],
)
def test_a_bad_value_is_named(key, value, says, tiny_cfg):
    set_key(tiny_cfg, key, value)
    with pytest.raises(UserError, match=says) as error:
        DefaultTrainer(tiny_cfg)
    named = value[0] if isinstance(value, tuple) else value
    assert key.split(".")[-1] in str(error.value)
    assert str(named) in str(error.value)


@pytest.mark.parametrize(
    ("batch", "processes", "says"),
    [
        (8, 3, "shared evenly by 3"),
        (2, 4, "leave some of them none"),
        (12, 4, r"the 3 images per process"),
    ],
)
def test_batches_are_shared_by_the_processes(batch, processes, says, tiny_cfg):
    tiny_cfg.SOLVER.IMS_PER_BATCH = batch
    with pytest.raises(UserError, match=says):
        validate_config(tiny_cfg, processes)


def test_missing_files_are_named(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.BACKBONE.PRETRAIN = True
    tiny_cfg.MODEL.BACKBONE.PRETRAIN_PATH = str(tmp_path / "pretrained.pth")
    with pytest.raises(UserError, match=r"PRETRAIN_PATH: there is no file .*pretrained\.pth"):
        validate_config(tiny_cfg)
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"MODEL\.WEIGHTS: there is no file .*model\.pth"):
        preflight(tiny_cfg, eval_only=True)


def test_one_instance_with_triplet_loss_warns(tiny_cfg, caplog):
    tiny_cfg.DATALOADER.NUM_INSTANCE = 1
    validate_config(tiny_cfg)
    assert "no positive pairs" in caplog.text


def test_output_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="OUTPUT_DIR: cannot write to"):
        check_output_dir(str(tmp_path / "file" / "logs"))
    check_output_dir(str(tmp_path / "new" / "logs"))
    assert os.listdir(tmp_path / "new" / "logs") == []


@pytest.fixture
def pictures(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    for name in ("a.jpg", "b.png", "c.bmp", "d.webp"):
        Image.fromarray(pixels).save(tmp_path / name)
    padded = tmp_path / "padded.jpg"
    padded.write_bytes((tmp_path / "a.jpg").read_bytes() + bytes(1000))
    return tmp_path


def test_whole_images_pass(pictures):
    check_images(sorted(pictures.iterdir()))
    check_images([])


@pytest.mark.parametrize("name", ["a.jpg", "b.png", "c.bmp", "d.webp"])
@pytest.mark.parametrize("kept", [0, 20, 0.9])
def test_cut_off_images_are_named(name, kept, pictures):
    path = pictures / name
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(UserError, match=f"1 of 5 images cannot be read: .*{name}"):
        check_images(sorted(pictures.iterdir()))


def test_text_and_absent_files_are_named_and_counted(pictures):
    paths = [pictures / f"absent{i}.jpg" for i in range(7)]
    (pictures / "a.jpg").write_text("<html>not found</html>")
    with pytest.raises(UserError) as error:
        check_images([pictures / "a.jpg", *paths, *paths])
    message = str(error.value)
    assert message.startswith("8 of 8 images")
    assert message.count(".jpg (") == 5
    assert "and 3 more" in message


def test_preflight_finds_a_damaged_training_image_but_not_for_an_evaluation(tiny_cfg, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "reid_core.run.preflight.check_images", lambda paths: seen.append(list(paths))
    )
    preflight(tiny_cfg)
    preflight(tiny_cfg, eval_only=True)
    # 4 identities x 3 cameras x 2 to train; 3 x 3 queries; 3 x 3 x 2 in the gallery
    assert [len(paths) for paths in seen] == [24 + 9 + 18, 9 + 18]


def items(num_ids=4, images=4, num_cams=2):
    return [
        (f"{pid}_{i}.jpg", f"set_{pid}", f"set_{i % num_cams}")
        for pid in range(num_ids)
        for i in range(images)
    ]


def first_batches(sampler, size, count=20):
    stream = iter(sampler)
    return [list(itertools.islice(stream, size)) for _ in range(count)]


@pytest.mark.parametrize("sampler", [NaiveIdentitySampler, BalancedIdentitySampler])
class TestIdentitySamplers:
    def test_as_many_identities_as_a_batch_needs(self, sampler):
        data = items(num_ids=4)
        for batch in first_batches(sampler(data, 8, 2, seed=0), 8):
            assert sorted(Counter(data[i][1] for i in batch).values()) == [2, 2, 2, 2]

    @pytest.mark.parametrize(("batch", "instances"), [(10, 2), (16, 2)])
    def test_fewer_identities_are_refused_instead_of_waited_for(self, sampler, batch, instances):
        with pytest.raises(UserError, match=r"too few identities \(4\).*at most 8"):
            sampler(items(num_ids=4), batch, instances, seed=0)

    @pytest.mark.parametrize(("batch", "instances"), [(10, 4), (2, 4), (8, 0)])
    def test_batches_that_do_not_divide_are_refused(self, sampler, batch, instances):
        with pytest.raises(UserError, match="multiple of DATALOADER"):
            sampler(items(), batch, instances, seed=0)

    def test_two_processes(self, sampler, monkeypatch):
        monkeypatch.setattr(comm, "get_world_size", lambda: 2)
        first_batches(sampler(items(num_ids=4), 4, 2, seed=0), 4)
        with pytest.raises(UserError, match="too few identities"):
            sampler(items(num_ids=3, images=2), 4, 2, seed=0)


def test_naive_sampler_may_repeat_identities_for_other_processes(monkeypatch):
    """3 identities with 6 images: 2 per process and turn, each may take 3 turns of 2 images."""
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    first_batches(NaiveIdentitySampler(items(num_ids=3, images=6), 4, 2, seed=0), 4)


class TestSetReWeightSampler:
    def test_batches_hold_the_asked_number_of_identities_of_each_camera(self):
        """Camera 1 is asked for 3 times as many as camera 0; identities have one camera here."""
        data = [(f"{p}_{i}.jpg", f"s_{p}", f"s_{p % 2}") for p in range(20) for i in range(3)]
        sampler = SetReWeightSampler(data, 16, 2, [1, 3], seed=0)
        for batch in first_batches(sampler, 16):
            assert Counter(data[i][2] for i in batch) == {"s_0": 4, "s_1": 12}

    def test_cameras_are_ordered_by_number(self):
        data = [(f"{p}.jpg", f"s_{p}", f"s_{p % 11}") for p in range(44)]
        sampler = SetReWeightSampler(data, 24, 1, [1] * 10 + [2], seed=0)
        for batch in first_batches(sampler, 24):
            assert Counter(data[i][2] for i in batch)["s_10"] == 4

    @pytest.mark.parametrize(
        ("batch", "weights", "says"),
        [
            (16, [1], "has 1 weights, but the training set has 2 cameras"),
            (16, [], "has 0 weights"),
            (16, [1, 2], "groups of 6 images"),
            (8, [1, 3], "such as 16"),
            (16, [0, 0], "groups of 0 images"),
            (160, [0, 40], "40 for camera set_1, which has no more than 16 images"),
        ],
    )
    def test_weights_that_cannot_work_are_refused(self, batch, weights, says):
        with pytest.raises(UserError, match=says):
            SetReWeightSampler(items(num_ids=4, images=8), batch, 2, weights, seed=0)
