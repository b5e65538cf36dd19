"""BatchNorm in groups: the statistics of a GPU's part of a batch, on one device."""

from __future__ import annotations

import pytest
import torch
from clustercontrast.modeling.grouped_norm import group_batch_norms
from torch import nn


@pytest.mark.parametrize(
    "norm, shape", [(nn.BatchNorm1d(3), (8, 3)), (nn.BatchNorm2d(3), (8, 3, 2, 2))]
)
def test_groups_are_parts_of_a_batch(norm, shape) -> None:
    """Each part goes through a copy of the layer, as on its own GPU; the first one's is kept."""
    images = torch.randn(shape)
    copies = [nn.Sequential(type(norm)(3)) for _ in range(2)]
    expected = torch.cat([c(part) for c, part in zip(copies, images.split(4), strict=True)])
    grouped = group_batch_norms(nn.Sequential(norm), 4)
    torch.testing.assert_close(grouped(images), expected)
    for name, value in copies[0].state_dict().items():
        torch.testing.assert_close(grouped.state_dict()[name], value)
    first = copies[0].eval()
    torch.testing.assert_close(grouped.eval()(images), first(images))


def test_names_weights_and_frozen_shifts_stay() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3)))
    model[1][0].bias.requires_grad_(False)
    before = model.state_dict()
    weight = model[1][0].weight
    group_batch_norms(model, 4)
    assert model.state_dict().keys() == before.keys()
    assert model[1][0].weight is weight and not model[1][0].bias.requires_grad


@pytest.mark.parametrize("group", [0, 8, 100])
def test_one_group_is_plain(group) -> None:
    images, plain = torch.randn(8, 3), nn.BatchNorm1d(3)
    grouped = group_batch_norms(nn.Sequential(nn.BatchNorm1d(3)), group)
    torch.testing.assert_close(grouped(images), plain(images))
