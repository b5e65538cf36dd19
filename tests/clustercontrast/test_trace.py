"""The released cluster contrast, step by step: neighbours, distances, labels, memory, weights."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from clustercontrast.clustering.methods import DBSCAN
from clustercontrast.memory.cluster_memory import ClusterMemory, cluster_centres
from clustercontrast.modeling.head import ClusterHead
from clustercontrast.modeling.meta_arch import ClusterContrast
from fasteval.distances.close_pairs import close_pairs
from fasteval.neighbours.nearest import nearest
from sparse_pairs import dense
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transreid import TransReIDBackbone

GOLDEN = Path(__file__).parents[1] / "golden" / "cluster_contrast_trace.npz"
UPDATES = ("each", "hard")
TOLERANCE = 1e-5


class Trace:
    """Arrays of the released run, by name."""

    def __init__(self) -> None:
        with np.load(GOLDEN) as file:
            self.arrays = {name: file[name] for name in file.files if name != "meta"}
            self.meta = json.loads(str(file["meta"]))

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.from_numpy(self.arrays[name])
        return tensor.float() if tensor.is_floating_point() else tensor

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Weights under the names of our model."""
        found = {k.removeprefix(prefix): self[k] for k in self.arrays if k.startswith(prefix)}
        return {
            f"heads.neck.{key}" if key.startswith("bottleneck") else f"backbone.{key}": value
            for key, value in found.items()
        }


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace()


def test_neighbours(trace: Trace) -> None:
    found = nearest(trace["features"], trace.meta["k1"], "euclidean")[1]
    np.testing.assert_array_equal(found, trace.arrays["neighbours"])


@pytest.mark.parametrize("name, k2", [("jaccard", 3), ("jaccard_k2_1", 1)])
def test_distances(name: str, k2: int, trace: Trace) -> None:
    expected = trace.arrays[name]
    everything = close_pairs(trace["features"], 1.0, trace.meta["k1"], k2)
    np.testing.assert_allclose(dense(everything), expected, rtol=0, atol=TOLERANCE)
    near = close_pairs(trace["features"], trace.meta["eps"], trace.meta["k1"], k2)
    np.testing.assert_array_equal(dense(near, 2.0) <= 1, expected <= trace.meta["eps"])


def test_labels(trace: Trace) -> None:
    eps, k1, k2 = (trace.meta[name] for name in ("eps", "k1", "k2"))
    for limit in (eps, 0.8):
        pairs = close_pairs(trace["features"], limit, k1, k2)
        found = DBSCAN(pairs, eps, trace.meta["min_samples"])
        np.testing.assert_array_equal(found, trace.arrays["labels"])


@pytest.mark.parametrize("update", UPDATES)
def test_memory(update: str, trace: Trace) -> None:
    """The released features go in; losses, their gradients and the rows come out."""
    memory = ClusterMemory(trace.meta["temperature"], trace.meta["momentum"], update)
    memory.begin(cluster_centres(trace["features"], trace["labels"]))
    close = partial(torch.testing.assert_close, rtol=0, atol=TOLERANCE)
    close(memory.rows, trace[f"{update}/memory/init"])
    for step in range(trace.meta["steps"]):
        features = trace[f"{update}/features"][step].clone().requires_grad_()
        labels = trace["labels"][trace["batches"][step]]
        before = memory.rows
        loss = memory(features, labels)
        assert memory.rows is before, "the rows move in the backward pass"
        loss.backward()
        assert loss.item() == pytest.approx(float(trace[f"{update}/loss"][step]), abs=TOLERANCE)
        close(features.grad, trace[f"{update}/feature_grad"][step])
        close(memory.rows, trace[f"{update}/memory/after"][step])


def build(trace: Trace, update: str) -> ClusterContrast:
    """The model of the trace, with its initial weights."""
    meta = trace.meta
    vit = VisionTransformer(
        img_size=meta["img"],
        patch_size=meta["patch"],
        num_classes=0,
        embed_dim=meta["width"],
        depth=meta["depth"],
        num_heads=meta["heads"],
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    head = ClusterHead(feat_dim=meta["width"], num_classes=0, test_neck_feat="after")
    model = ClusterContrast(
        backbone=TransReIDBackbone(vit, meta["img"], (meta["patch"], meta["patch"])),
        heads=head,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
        memory=ClusterMemory(meta["temperature"], meta["momentum"], update),
    )
    incompatible = model.load_state_dict(trace.state("init/"), strict=False)
    assert incompatible.missing_keys == ["heads.neck.classifier.weight"]
    assert not incompatible.unexpected_keys
    return model


@pytest.mark.parametrize("update", UPDATES)
def test_training(update: str, trace: Trace) -> None:
    """Images go in; features, losses, gradients, memory and weights come out, over all steps."""
    model, meta = build(trace, update), trace.meta
    close = partial(torch.testing.assert_close, rtol=0, atol=TOLERANCE)
    with torch.no_grad():
        features = model.eval()({"images": trace["images"].clone()})
    close(nn.functional.normalize(features), trace["features"])
    model.train().memory.begin(cluster_centres(trace["features"], trace["labels"]))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, meta["lr"], momentum=0.9, weight_decay=meta["wd"])
    for step in range(meta["steps"]):
        rows = trace["batches"][step]
        batch = {"images": trace["images"][rows].clone(), "targets": trace["labels"][rows]}
        loss = model(batch)["loss_cluster"]
        optimizer.zero_grad()
        loss.backward()
        if step == 0 and update == "each":
            for name, gradient in trace.state("each/grad/").items():
                close(model.get_parameter(name).grad, gradient)
        optimizer.step()
        assert loss.item() == pytest.approx(float(trace[f"{update}/loss"][step]), abs=TOLERANCE)
        close(model.memory.rows, trace[f"{update}/memory/after"][step])
    own = model.state_dict()
    for name, expected in trace.state(f"{update}/final/").items():
        close(own[name], expected)
