"""The SIE table: rows, unknown cameras and viewpoints, camera dropout."""

from __future__ import annotations

import logging

import pytest
import torch
from reid_common.errors import UserError
from reid_core.side_information.rows import sie_rows
from reid_core.side_information.stored import decode_table, encode_table
from torch import Tensor
from transreid.modeling.side_embedding import SideInformationEmbedding
from transreid.modeling.side_unknown import POLICIES

SIZES = [(3, 2), (3, 0), (0, 2), (1, 0), (1, 1)]
SIZE_IDS = ["both", "cameras", "views", "one camera", "one of both"]


def embedding(cameras: int, views: int, **options: object) -> SideInformationEmbedding:
    return SideInformationEmbedding(cameras, views, embed_dim=4, sie_coe=2.0, **options)


def every_id(cameras: int, views: int) -> tuple[Tensor, Tensor]:
    """All pairs of a camera and a view, known and unknown; two different negative ids."""
    pairs = [(c, v) for c in (-7, -1, *range(cameras)) for v in (-1, *range(views))]
    camids, viewids = zip(*pairs, strict=True)
    return torch.tensor(camids), torch.tensor(viewids)


def naive(sie: SideInformationEmbedding, camera: int, view: int) -> Tensor:
    """What one image gets, from the definition."""
    grid = sie.sie_embed.view(max(sie.num_cameras, 1), max(sie.num_views, 1), 4)
    unknown_camera = sie.num_cameras > 0 and camera < 0
    unknown_view = sie.num_views > 0 and view < 0
    cameras = grid if unknown_camera else grid[camera if sie.num_cameras else 0][None]
    rows = cameras if unknown_view else cameras[:, view if sie.num_views else 0][:, None]
    if sie.unknown == "zero" and (unknown_camera or unknown_view):
        return torch.zeros(4)
    return 2.0 * rows.reshape(-1, 4).mean(0)


@pytest.mark.parametrize("unknown", ["mean", "zero"])
@pytest.mark.parametrize("cameras, views", SIZES, ids=SIZE_IDS)
def test_every_id_against_the_definition(cameras: int, views: int, unknown: str) -> None:
    sie = embedding(cameras, views, unknown=unknown)
    camids, viewids = every_id(cameras, views)
    embedded = sie(camids, viewids)
    assert embedded.shape == (len(camids), 1, 4)
    pairs = zip(camids.tolist(), viewids.tolist(), strict=True)
    expected = torch.stack([naive(sie, camera, view) for camera, view in pairs])
    torch.testing.assert_close(embedded[:, 0], expected)


def test_rows_of_the_table() -> None:
    cameras, views = torch.tensor([0, 2, 1, -4, 2, -1]), torch.tensor([1, 0, 2, 2, -1, -1])
    # camera * 3 + view; behind the 9 rows: 3 of an unknown camera, 3 of an unknown view, 1 of both
    assert sie_rows(cameras, views, 3, 3).tolist() == [1, 6, 5, 11, 14, 15]
    assert sie_rows(cameras, None, 3, 0).tolist() == [0, 2, 1, 3, 2, 3]
    # 3 learnt; 3 of an unknown camera, which views alone do not have; 1 of an unknown view
    assert sie_rows(None, views, 0, 3).tolist() == [1, 0, 2, 2, 6, 6]


def test_the_mean_passes_gradients_to_the_rows_it_is_of() -> None:
    sie = embedding(2, 2)
    sie(torch.tensor([-1]), torch.tensor([1])).sum().backward()
    # lambda / 2 cameras at view 1, that is rows 0 * 2 + 1 and 1 * 2 + 1; nothing at view 0
    gradient = sie.sie_embed.grad
    assert gradient is not None
    torch.testing.assert_close(gradient[:, 0, 0], torch.tensor([0.0, 1.0, 0.0, 1.0]))


def test_known_ids_are_the_same_with_every_policy() -> None:
    camids, viewids = torch.tensor([0, 2]), torch.tensor([1, 0])
    reference = embedding(3, 2)
    for unknown in POLICIES:
        sie = embedding(3, 2, unknown=unknown)
        sie.load_state_dict(reference.state_dict())
        assert torch.equal(sie(camids, viewids), reference(camids, viewids))


def test_without_ids_all_are_unknown_and_one_warning_says_so(caplog) -> None:
    sie = embedding(3, 0)
    with caplog.at_level(logging.WARNING):
        first, second = sie(None, None), sie()
    assert torch.equal(first, second) and first.shape == (1, 1, 4)
    torch.testing.assert_close(first[0], 2 * sie.sie_embed.mean(0))
    assert len(caplog.records) == 1 and "UNKNOWN is mean" in caplog.text
    both = embedding(3, 2)
    views = torch.tensor([1, 0])
    torch.testing.assert_close(both(None, views), both(torch.tensor([-1, -5]), views))


@pytest.mark.parametrize("unknown", POLICIES)
def test_ids_that_are_too_high_are_refused(unknown: str) -> None:
    sie = embedding(3, 2, unknown=unknown)
    with pytest.raises(UserError, match=r"camids holds 3, but MODEL.SIE.NUM_CAMERAS is 3"):
        sie(torch.tensor([0, 3]), torch.tensor([0, 0]))
    with pytest.raises(UserError, match=r"viewids holds 2, but MODEL.SIE.NUM_VIEWS is 2"):
        sie(torch.tensor([0, 1]), torch.tensor([0, 2]))


def test_the_policy_error_refuses_unknown_ids() -> None:
    sie = embedding(3, 2, unknown="error")
    known = torch.tensor([0, 1])
    with pytest.raises(UserError, match=r"camids holds -3: .*UNKNOWN is error. Set that to mean"):
        sie(torch.tensor([0, -3]), known)
    with pytest.raises(UserError, match="viewids holds -1"):
        sie(known, torch.tensor([-1, 0]))
    with pytest.raises(UserError, match="has no 'camids'"):
        sie(None, known)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"unknown": "maen"}, "MODEL.SIE.UNKNOWN: 'maen' is unknown. Did you mean 'mean'"),
        ({"camera_dropout": 1.0}, "CAMERA_DROPOUT is 1.0"),
        ({"camera_dropout": -0.1}, "CAMERA_DROPOUT is -0.1"),
        ({"camera_dropout": 0.1, "unknown": "error"}, "MODEL.SIE.UNKNOWN is error"),
        ({"camera_dropout": 0.1, "num_cameras": 0}, "no camera is embedded"),
    ],
    ids=str,
)
def test_wrong_settings_are_named(options: dict, message: str) -> None:
    sizes = {"num_cameras": 3, "num_views": 2, "embed_dim": 4}
    with pytest.raises(UserError, match=message):
        SideInformationEmbedding(**{**sizes, **options})


def test_camera_dropout() -> None:
    sie = embedding(3, 2, unknown="zero", camera_dropout=0.25).train()
    camids, viewids = torch.arange(4000) % 3, torch.arange(4000) % 2
    torch.manual_seed(5)
    first = sie(camids, viewids)
    torch.manual_seed(5)
    assert torch.equal(sie(camids, viewids), first)  # from torch's generator
    dropped = (first == 0).all(dim=2).float().mean().item()
    # 4000 draws of 0.25: standard deviation sqrt(0.25 * 0.75 / 4000) = 0.0068, 5 of them
    assert abs(dropped - 0.25) < 0.034
    assert camids.min() == 0  # the caller's ids stay
    before = torch.get_rng_state()
    assert (sie.eval()(camids, viewids) != 0).any(dim=2).all()
    assert torch.equal(torch.get_rng_state(), before)


def test_without_dropout_nothing_is_drawn() -> None:
    sie = embedding(3, 0).train()
    before = torch.get_rng_state()
    sie(torch.tensor([0]), None)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("unknown", ["mean", "zero"])
def test_export_keeps_the_policy(unknown: str) -> None:
    """Ids stay inputs of the graph: another batch, with unknown ids, goes the same way."""
    sie = embedding(3, 2, unknown=unknown).eval()
    batch = torch.export.Dim("batch", min=2)
    shapes = {"camids": {0: batch}, "viewids": {0: batch}}
    example = (torch.tensor([0, 1]), torch.tensor([1, 1]))
    exported = torch.export.export(sie, example, dynamic_shapes=shapes).module()
    camids, viewids = every_id(3, 2)
    torch.testing.assert_close(exported(camids, viewids), sie(camids, viewids))
    traced = torch.jit.trace(sie, example)
    torch.testing.assert_close(traced(camids, viewids), sie(camids, viewids))


def test_one_camera_is_a_table_of_one_row() -> None:
    sie = SideInformationEmbedding(num_cameras=1, num_views=0, embed_dim=4, sie_coe=2.0)
    embedded = sie(torch.zeros(5, dtype=torch.long), None)
    torch.testing.assert_close(embedded, 2 * sie.sie_embed.expand(5, 1, 4))


def test_the_camera_table_is_stored_with_the_model() -> None:
    text = "market1501:6,msmt17:15"
    assert decode_table(encode_table(text)) == text
    sie = SideInformationEmbedding(21, 0, 4, camera_table=text)
    assert decode_table(sie.state_dict()["camera_table"]) == text
    # Another model's names do not replace those that this model's data loaders use.
    other = SideInformationEmbedding(21, 0, 4, camera_table="toyreid:21")
    other.load_state_dict(sie.state_dict())
    assert decode_table(other.camera_table) == "toyreid:21"
    with pytest.raises(ValueError, match="at most 1024"):
        encode_table("x" * 1025)


def test_an_additive_table_against_hand_values() -> None:
    sie = SideInformationEmbedding(2, 3, embed_dim=1, sie_coe=2.0, table="additive")
    assert {name: tuple(p.shape) for name, p in sie.named_parameters()} == {
        "sie_camera": (2, 1, 1),
        "sie_view": (3, 1, 1),
    }
    sie.sie_camera.data[:, 0, 0] = torch.tensor([10.0, 20.0])
    sie.sie_view.data[:, 0, 0] = torch.tensor([1.0, 2.0, 6.0])
    camids, viewids = torch.tensor([0, 1, 1, -1, 0, -1]), torch.tensor([0, 2, 1, 1, -1, -1])
    # 2 * (S_C + S_V); an unknown camera has the mean 15, an unknown viewpoint the mean 3
    expected = [22.0, 52.0, 44.0, 34.0, 26.0, 36.0]
    assert sie(camids, viewids).flatten().tolist() == pytest.approx(expected)
    sie.unknown = "zero"  # what is unknown adds nothing
    assert sie(camids, viewids).flatten().tolist() == pytest.approx([22, 52, 44, 4, 20, 0])
    sie.unknown = "error"
    assert sie(camids[:3], viewids[:3]).flatten().tolist() == pytest.approx(expected[:3])
    with pytest.raises(UserError, match="error"):
        sie(camids, viewids)


def test_an_additive_table_of_one_kind_is_the_joint_one() -> None:
    for cameras, views in ((3, 0), (0, 2)):
        one, other = embedding(cameras, views), embedding(cameras, views, table="additive")
        other.load_state_dict(one.state_dict())
        ids = torch.tensor([0, 1, -1])
        assert torch.equal(one(ids, ids), other(ids, ids))


def test_an_unknown_kind_of_table() -> None:
    with pytest.raises(UserError, match=r"MODEL.SIE.TABLE.*'additiv'.*'additive'"):
        embedding(2, 2, table="additiv")
