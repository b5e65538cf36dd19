"""KoLeo against a loop over pairs of images, and what it does."""

from __future__ import annotations

import math

import pytest
import torch
from dinopretrain.losses.koleo import koleo_loss
from torch.nn import functional as F


def naive(features: torch.Tensor) -> torch.Tensor:
    """Equation 3, image by image."""
    losses = []
    for view in F.normalize(features, dim=-1):
        for i, one in enumerate(view):
            distances = [(one - other).norm() for j, other in enumerate(view) if j != i]
            losses.append(-torch.log(min(distances) + 1e-8))
    return torch.stack(losses).mean()


def test_the_loss_and_its_gradient_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 6, 5, generator=generator, requires_grad=True)
    losses = koleo_loss(features), naive(features)
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, features)[0] for loss in losses))


def test_right_angles_and_equal_features() -> None:
    assert koleo_loss(5 * torch.eye(4)[None]).item() == pytest.approx(-math.log(2) / 2)
    equal = torch.ones(1, 3, 4, requires_grad=True)
    loss = koleo_loss(equal)
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-8), rel=1e-3)
    assert equal.grad.isfinite().all()


def test_views_are_not_compared_with_each_other() -> None:
    generator = torch.Generator().manual_seed(4)
    view = torch.randn(1, 5, 8, generator=generator)
    torch.testing.assert_close(koleo_loss(view.expand(2, -1, -1)), koleo_loss(view))


def test_a_single_image_has_no_neighbour() -> None:
    features = torch.ones(2, 1, 4, requires_grad=True)
    loss = koleo_loss(features)
    loss.backward()
    assert loss.item() == 0 and features.grad.eq(0).all()


def test_it_spreads_features_over_the_dimensions() -> None:
    generator = torch.Generator().manual_seed(5)
    narrow = torch.ones(1, 32, 8) + 0.05 * torch.randn(1, 32, 8, generator=generator)
    features = narrow.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([features], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        koleo_loss(features).backward()
        optimizer.step()

    def mean_length(x: torch.Tensor) -> float:
        """1 where all point the same way, near 0 where they are spread."""
        return F.normalize(x, dim=-1).mean(1).norm().item()

    assert mean_length(narrow) > 0.95 and mean_length(features) < 0.5
