"""Script that test_memory.py starts: a list and a ranking of NUMBER names choose half of them.

``choosing.py FOLDER NUMBER`` prints the images kept, the bytes of their indices, and by how many
bytes the peak of the process grew.
"""

from __future__ import annotations

import resource
import sys

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
import numpy as np
from cfs.filters.chain import run_filters
from dinopretrain.data.images import FileImages, SelectedImages
from dinopretrain.data.path_list import PathList
from torch import from_numpy


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    folder, count = sys.argv[1], int(sys.argv[2])
    names = PathList.from_iterable(
        f"{i // 1000:05d}/frame_{i % 1000:06d}_person.jpg" for i in range(count)
    )
    with open(f"{folder}/ranked.txt", "wb") as file:
        for name in names.iter_raw():
            file.write(name + b"\n")
    entries = [
        {"NAME": "ListFilter", "LIST": f"{folder}/ranked.txt"},
        {"NAME": "CFSFilter", "SCORES": f"{folder}/ranked.txt", "KEEP": 0.5},
    ]
    before = peak()
    images = FileImages(names, folder)
    kept, _ = run_filters(entries, images, folder, folder)
    chosen = SelectedImages(images, from_numpy(np.asarray(kept)))
    print(len(chosen), chosen.indices.nbytes, peak() - before)
