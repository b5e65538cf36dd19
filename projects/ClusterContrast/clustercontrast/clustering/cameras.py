"""Take out of features what all images of a camera share: its light, colour and background.

Not in the released recipe. Weights that know cameras better than persons make clusters of cameras;
who is at which camera is known without labels.

Letters: N images, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 10  # images of a camera whose mean says something


def centred_by_camera(features: Tensor, cameras: np.ndarray) -> Tensor:
    """Return the features (N, D) less the mean of their camera, of length 1 again.

    Images of cameras (N,) with fewer than LEAST images, or without one, share a mean of their own.
    """
    names, numbers, counts = np.unique(cameras, return_inverse=True, return_counts=True)
    few = counts < LEAST
    of_image = torch.from_numpy(np.where(few[numbers], len(names), numbers))
    sums = features.new_zeros(len(names) + 1, features.shape[1])
    sums.index_add_(0, of_image, features)
    means = sums / of_image.bincount(minlength=len(sums))[:, None].clamp(min=1)
    return F.normalize(features - means[of_image])
