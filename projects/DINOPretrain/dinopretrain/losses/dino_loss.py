"""The loss of DINO: the student predicts the teacher's output on other views.

Source: Caron et al., ICCV 2021, equations 1-4 and algorithm 1.

Letters: B images, K outputs, G global views (the teacher's), V all views (the student's), the
globals first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .precision import precise


def cross_view_loss(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    student_temp: float,
    teacher_temp: float | Tensor,
) -> Tensor:
    """Mean of H(p_t^i, p_s^j) over all pairs of a teacher view i and another student view j.

    The sum over pairs is taken apart: H(p, softmax(s)) = logsumexp(s) - p . s, and the products
    with all teacher views but the student's own are one product with their sum, so that nothing of
    the size pairs x B x K is made.

    Args:
        student: (V, B, K) logits.
        teacher: (G, B, K) logits, G <= V; no gradient flows into them.
        center: (1, K) or (K,), subtracted from the teacher's logits (equation 4).
        student_temp: tau_s.
        teacher_temp: tau_t, or a 0-dimensional tensor of it.

    Returns:
        Scalar.
    """
    num_teacher, num_student = len(teacher), len(student)
    targets = F.softmax((precise(teacher.detach()) - center) / teacher_temp, dim=-1)
    logits = precise(student) / student_temp
    # Targets of student view j: all teacher views but j itself.
    total = targets.sum(0)
    others = (total - targets[j] if j < num_teacher else total for j in range(num_student))
    products = torch.stack([(x * t).sum(-1) for x, t in zip(logits, others, strict=True)])
    pairs = torch.full((num_student, 1), float(num_teacher), device=student.device)
    pairs[:num_teacher] -= 1
    losses = pairs * torch.logsumexp(logits, dim=-1) - products
    return losses.mean(1).sum() / pairs.sum()


class DINOLoss(nn.Module):
    """Loss with the running centre of the teacher's outputs, which checkpoints hold.

    Args:
        out_dim: K.
        student_temp: tau_s, 0.1.
        center_momentum: m of equation 4, 0.9.
    """

    center: Tensor

    def __init__(
        self, out_dim: int, student_temp: float = 0.1, center_momentum: float = 0.9
    ) -> None:
        super().__init__()
        self.student_temp, self.center_momentum = student_temp, center_momentum
        self.register_buffer("center", torch.zeros(1, out_dim))

    def forward(self, student: Tensor, teacher: Tensor, teacher_temp: float | Tensor) -> Tensor:
        """Loss of a step, or of a piece of it; the centre stays until :meth:`move_center`."""
        return cross_view_loss(student, teacher, self.center, self.student_temp, teacher_temp)

    @torch.no_grad()
    def move_center(self, mean: Tensor, finite: Tensor | None = None) -> None:
        """Move the centre, after the losses of a step, towards the mean of the teacher's outputs.

        ``mean`` (1, K) is over the whole batch of all processes. Where ``finite``, a boolean on the
        device, is False, the centre stays.
        """
        moved = (self.center * self.center_momentum).add_(mean, alpha=1 - self.center_momentum)
        self.center.copy_(moved if finite is None else torch.where(finite, moved, self.center))
