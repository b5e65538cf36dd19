"""Script that test_cache.py starts: measures POOL into FOLDER, dies by SIGKILL at image NUMBER."""

from __future__ import annotations

import os
import signal
import sys

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import numpy as np
from cfs.filters import measured_images
from cfs.filters.measurements import Sharpness
from reid_core.data.opening import open_dataset

if __name__ == "__main__":
    measure = measured_images._measure

    def die(measurement, images, index):
        if index == int(sys.argv[3]) - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return measure(measurement, images, index)

    measured_images._measure = die
    measured_images.BLOCK = 3
    images = open_dataset(f"ImageFolder:{sys.argv[1]}").images
    measured_images.measured(Sharpness((64, 32)), images, np.arange(len(images)), sys.argv[2])
