"""DINO's loss against loops over the pairs of views, its centre, head and schedules by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from dinopretrain.engine.clipping import clip_each
from dinopretrain.losses.collapse import collapse_kind
from dinopretrain.losses.dino_loss import DINOLoss, cross_view_loss
from dinopretrain.losses.outputs import OutputSums
from dinopretrain.modeling.head import DINOHead
from dinopretrain.solver.schedules import cosine_with_warmup, teacher_temperature


def naive_loss(student, teacher, center, student_temp, teacher_temp):
    """Equation 3, pair by pair."""
    losses = []
    for i in range(len(teacher)):
        targets = F.softmax((teacher[i] - center) / teacher_temp, dim=-1)
        for j in range(len(student)):
            if i != j:
                log_p = F.log_softmax(student[j] / student_temp, dim=-1)
                losses.append(-(targets * log_p).sum(-1).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("num_views", [2, 3, 10])
def test_the_loss_is_the_mean_over_pairs_of_views(num_views: int) -> None:
    student = torch.randn(num_views, 5, 17, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 5, 17, dtype=torch.float64)
    center = torch.randn(1, 17, dtype=torch.float64)
    arguments = (teacher, center, 0.1, 0.04)
    expected = naive_loss(student, *arguments)
    ours = cross_view_loss(student, *arguments)
    # The loss is computed in float32.
    torch.testing.assert_close(ours.double(), expected, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_no_gradient_reaches_the_teacher() -> None:
    teacher = torch.randn(2, 3, 8, requires_grad=True)
    student = torch.randn(4, 3, 8, requires_grad=True)
    DINOLoss(8)(student, teacher, 0.04).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_the_centre_moves_after_the_loss() -> None:
    loss = DINOLoss(2, center_momentum=0.9)
    teacher = torch.tensor([[[1.0, 0.0]], [[3.0, 2.0]]])  # two views of one image
    first = loss(torch.zeros(2, 1, 2), teacher, 1.0)
    assert first == pytest.approx(math.log(2))  # the student is uniform
    assert loss.center.eq(0).all()
    loss.move_center(teacher.mean((0, 1))[None])
    # 0.9 * 0 + 0.1 * mean([1, 3]), likewise 0.1 * mean([0, 2])
    torch.testing.assert_close(loss.center, torch.tensor([[0.2, 0.1]]))
    assert "center" in loss.state_dict()


def test_the_head_has_unit_prototypes_that_are_not_trained() -> None:
    head = DINOHead(6, 9, hidden_dim=8, bottleneck_dim=4)
    features = torch.randn(3, 6)
    normalised = F.normalize(head.mlp(features), dim=1)
    prototypes = F.normalize(head.last_layer.weight_v, dim=1)
    torch.testing.assert_close(head(features), normalised @ prototypes.T)
    assert head(features).abs().max() <= 1
    assert not head.last_layer.weight_g.requires_grad
    assert DINOHead(6, 9, norm_last_layer=False).last_layer.weight_g.requires_grad


def test_each_gradient_is_clipped_on_its_own() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad = torch.tensor([3.0, 4.0])  # norm 5, to 2.5
    parameters[1].grad = torch.tensor([0.3, 0.4])  # norm 0.5 stays
    norm = clip_each(parameters, 2.5)
    assert norm == pytest.approx(math.sqrt(25.25))
    torch.testing.assert_close(parameters[0].grad, torch.tensor([1.5, 2.0]))
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.3, 0.4]))
    clip_each(parameters, 0.0)
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.3, 0.4]))


def test_schedules_by_hand() -> None:
    # 2 warm-up steps: 0, base; then a cosine over 2 steps: base, the middle.
    values = [cosine_with_warmup(step, 4, 1.0, 0.0, 2) for step in range(4)]
    assert values == pytest.approx([0, 1, 1, 0.5])
    assert cosine_with_warmup(0, 4, 1.0, 0.0, 1) == 0
    temperatures = [teacher_temperature(epoch, 0.04, 0.07, 4) for epoch in range(6)]
    assert temperatures == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])


def statistics(logits: torch.Tensor, features: torch.Tensor, piece: int) -> dict[str, float]:
    """Of outputs of two views in pieces of ``piece`` images, centre 0.1, temperature 0.04."""
    sums, center = OutputSums(), torch.full((1, logits.shape[1]), 0.1)
    views, seen = (values.unflatten(0, (2, -1)).split(piece, 1) for values in (logits, features))
    for part, of_part in zip(views, seen, strict=True):
        sums.add(part, of_part.flatten(0, 1), center, 0.04)
    mean, values = sums.reduced(center)
    torch.testing.assert_close(mean, logits.mean(0, keepdim=True))
    return {name: float(value) for name, value in values.items()}


def test_statistics_of_the_outputs() -> None:
    out_dim = 16
    alike = statistics(torch.zeros(16, out_dim), torch.ones(16, 4), 8)
    assert alike["teacher_entropy"] == pytest.approx(math.log(out_dim), rel=1e-5)
    assert alike["logit_spread"] == 0
    assert alike["feature_spread"] == pytest.approx(0, abs=1e-3)
    # Features along two axes: the mean is (1/2, 1/2), of square 1/2.
    axes = torch.tensor([[3.0, 0.0], [0.0, 5.0]]).repeat(8, 1)
    sharp = statistics(torch.eye(out_dim) * 10, axes, 8)
    assert sharp["teacher_entropy"] == pytest.approx(0, abs=1e-5)
    assert sharp["mean_entropy"] == pytest.approx(math.log(out_dim), rel=1e-5)
    assert sharp["feature_spread"] == pytest.approx(math.sqrt(0.5))
    # One value of 16 is 10, the others 0: a standard deviation of 10 * sqrt(15) / 16.
    assert sharp["logit_spread"] == pytest.approx(10 * math.sqrt(15) / 16)


def test_agreement_of_two_views() -> None:
    first, features = torch.randn(64, 8) + 3, torch.ones(128, 4)
    mixed = (first + torch.randn(64, 8)) / 2
    same = statistics(torch.cat([first, first]), features, 64)
    assert same["view_agreement"] == pytest.approx(1, abs=1e-5)
    half = statistics(torch.cat([first, mixed]), features, 64)
    views = torch.stack([first, mixed]).double()
    one, other = (views - views.mean((0, 1))).flatten(1)
    by_hand = 2 * (one @ other) / (one @ one + other @ other)
    assert half["view_agreement"] == pytest.approx(float(by_hand), abs=1e-5)


@pytest.mark.parametrize("piece", [1, 5])
def test_statistics_are_of_the_batch_in_whatever_pieces(piece: int) -> None:
    logits, features = torch.randn(12, 16) / 10, torch.randn(12, 6)
    whole = statistics(logits, features, 6)
    assert statistics(logits, features, piece) == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize(
    "loss, entropy, mean_entropy, kind",
    [
        (math.log(64), math.log(64), math.log(64), "uniform"),
        (0.01, 0.001, 0.01, "one_hot"),
        (3.2, 3.0, 3.4, None),
        (3.0, 0.1, 3.4, None),  # sharp, but not the same for all images
    ],
)
def test_both_kinds_of_collapse(loss, entropy, mean_entropy, kind) -> None:
    assert collapse_kind(loss, entropy, mean_entropy, 64) == kind
