"""A tiny model with the outliers of large ViTs, and a data set of drawn identities as a table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image

OUTLIER = 2000.0
CHANNEL = 3


def with_outliers(weights: str, factor: float = OUTLIER) -> str:
    """The same model with one channel behind each LayerNorm so many times larger, as a new file.

    The layers behind divide by the factor again: the features are the same, but one scale for all
    channels leaves the others no steps.
    """
    checkpoint = torch.load(weights, weights_only=True)
    state = checkpoint["model"]
    for name in [name for name in state if name.endswith(("norm1.weight", "norm2.weight"))]:
        block, norm, _ = name.rsplit(".", 2)
        layer = "attn.qkv.weight" if norm == "norm1" else "mlp.fc1.weight"
        for part in ("weight", "bias"):
            state[f"{block}.{norm}.{part}"][CHANNEL] *= factor
        state[f"{block}.{layer}"][:, CHANNEL] /= factor
    path = Path(weights).with_name("outliers.pth")
    torch.save(checkpoint, path)
    return str(path)


def write_identities(folder: Path, count: int = 10, size: tuple[int, int] = (64, 32)) -> str:
    """Images of ``count`` identities, 2 to train on, 1 query and 2 of the gallery of each.

    Returns:
        The data set's name: CSVReID: and its table.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for identity in range(2 * count):
        coarse = rng.integers(0, 256, (8, 4, 3)).astype(np.float32)
        base = np.kron(coarse, np.ones((size[0] // 8, size[1] // 4, 1), np.float32))
        splits = ("train", "train") if identity < count else ("query", "gallery", "gallery")
        for camera, split in enumerate(splits):
            noise = rng.normal(0, 8, base.shape)
            path = folder / f"{identity:03d}_{camera}.png"
            Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(path)
            rows.append((path.name, f"p{identity}", f"c{camera}", split))
    with open(folder / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image", "identity", "camera", "split"), *rows])
    return f"CSVReID:{folder / 'list.csv'}"
