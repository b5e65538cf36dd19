"""The hook of data filters: who registers chooses what a labelled training set holds."""

from __future__ import annotations

import numpy as np
import pytest
from fastreid.data import build_reid_test_loader, build_reid_train_loader
from reid_common.errors import UserError
from reid_core.data import filter_hook as item_filters
from reid_core.data.filter_hook import ItemFilters
from reid_core.run.preflight import dataset_images
from reid_core.run.validation import validate_config


@pytest.fixture
def asked(monkeypatch) -> list:
    """What the hook was asked; it keeps every second image."""
    calls: list = []

    def choose(cfg, images, identities):
        calls.append((list(images), list(identities)))
        return np.arange(0, len(images), 2)

    def check(cfg):
        if cfg.DATASETS.FILTERS[0]["NAME"] != "Half":
            raise UserError("no such filter")

    monkeypatch.setattr(item_filters, "REGISTERED", [ItemFilters(check, choose)])
    return calls


def test_no_filters_ask_nobody(tiny_cfg, asked) -> None:
    assert len(build_reid_train_loader(tiny_cfg).dataset) == 24
    assert asked == []


def test_a_training_set_is_what_is_chosen_and_a_test_set_is_not(tiny_cfg, asked) -> None:
    before = build_reid_train_loader(tiny_cfg).dataset
    tests = len(build_reid_test_loader(tiny_cfg, dataset_name="Market1501")[0].dataset)
    tiny_cfg.DATASETS.FILTERS = [{"NAME": "Half"}]
    after = build_reid_train_loader(tiny_cfg).dataset
    assert after.img_items == before.img_items[::2]
    assert after.cameras == before.cameras[::2] and after.views == before.views[::2]
    ((images, identities),) = asked
    assert images == [item[0] for item in before.img_items]
    assert identities == [item[1] for item in before.img_items]
    loader, _ = build_reid_test_loader(tiny_cfg, dataset_name="Market1501")
    assert len(loader.dataset) == tests and len(asked) == 1


def test_preflight_leaves_training_images_to_the_filters(tiny_cfg, asked) -> None:
    everything = dataset_images(tiny_cfg)
    tiny_cfg.DATASETS.FILTERS = [{"NAME": "Half"}]
    assert dataset_images(tiny_cfg) == dataset_images(tiny_cfg, eval_only=True)
    assert len(everything) == len(dataset_images(tiny_cfg)) + 24


def test_a_wrong_list_is_refused_before_a_training_only(tiny_cfg, asked) -> None:
    tiny_cfg.DATASETS.FILTERS = [{"NAME": "Third"}]
    with pytest.raises(UserError, match="no such filter"):
        validate_config(tiny_cfg)
    validate_config(tiny_cfg, eval_only=True)
