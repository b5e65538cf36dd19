"""The synthetic pictures behind ToyUnlabeled: ToyReID's world, and what a real pool suffers from.

``plan`` (which pictures), ``faults`` (cropped bodies, low resolution, no person), ``strangers``
(other domains' persons), ``render`` (onto the disk), ``sheet`` (to look at).
"""

from .plan import KINDS, Picture, PoolPlan, PoolSpec, plan_pool
from .render import render_pool

__all__ = ["KINDS", "Picture", "PoolPlan", "PoolSpec", "plan_pool", "render_pool"]
