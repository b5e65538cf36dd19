"""The model card: README.md of a published folder, made from the run.

What cannot be known from the run, the licence above all, is left for the author to fill in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from reid_common.report_pages import Block, Code, Report, Section, Table, Text, to_markdown

from ..inference.extractor import FeatureExtractor
from ..weights.hub import FILL_IN
from .metrics import MEASURES, Metrics
from .places import local_name
from .rows import camera_rows, view_rows

TAGS = ("person-re-identification", "re-identification", "fastreid")
NOT_KNOWN = "not known"
USE = """from transreid import FeatureExtractor

extractor = FeatureExtractor.from_pretrained("{name}")
features = extractor(["a.jpg", "b.png"])  # (2, {dim}), L2-normalised
print(features @ features.T)  # cosine similarities"""
LIMITS = (
    "Meant for research on re-identification: finding the same identity again among images of the "
    "kind that it was trained on, cropped to one person or object each.",
    "Similar features are no proof of identity. Metrics hold for the test sets above; on other "
    "cameras, seasons, clothes, countries and image qualities they are lower, often much lower, "
    "and differ between groups of people. Measure on labelled images of your own, and calibrate a "
    "threshold on them, before you rely on it.",
    "Tracking people may need their consent, and a legal ground, where you are. Do not use it as "
    "the only ground for a decision about a person.",
)


@dataclass(frozen=True)
class Card:
    """What a card is made from.

    Attributes:
        extractor: the model.
        trained: config of the run.
        identities: classes of its classifier, 0 = not known.
        start: weights that the run started from, "" = not known.
        metrics: evaluations of the model.
        thresholds: content of threshold.json, {} for none.
        license: of the weights, "" = to be filled in.
    """

    extractor: FeatureExtractor
    trained: CfgNode
    identities: int
    start: str
    metrics: Sequence[Metrics]
    thresholds: Mapping[str, Any]
    license: str

    def markdown(self, name: str, preprocess: Mapping[str, Any]) -> str:
        """The card of a model of this name, whose ``preprocess.json`` is given."""
        cfg, dim = self.extractor.cfg, self.extractor.feature_dim
        sections = [
            Section("Use", [Code("Python", USE.format(name=name, dim=dim)), _images(preprocess)]),
            Section("Training", [self._training()]),
            Section("Metrics", self._metrics()),
            Section("Cameras and viewpoints", _side_information(self.extractor)),
            Section("Threshold", _thresholds(self.thresholds)),
            Section("Intended use and limits", [Text(text) for text in LIMITS]),
            Section("Licence", [Text(text) for text in self._license()]),
        ]
        size = sum(p.numel() for p in self.extractor.model.parameters()) / 1e6
        network = cfg.MODEL.BACKBONE.get("TIMM_NAME", "")
        if cfg.MODEL.BACKBONE.NAME != "build_transreid_backbone":
            network = f"{cfg.MODEL.BACKBONE.NAME} {cfg.MODEL.BACKBONE.DEPTH}"
        lead = (
            f"Features of images for re-identification: {dim} numbers of length 1, whose products "
            f"are cosine similarities. {cfg.MODEL.META_ARCHITECTURE} with {network} and "
            f"{cfg.MODEL.HEADS.NAME}, {size:.1f} million parameters."
        )
        report = Report(name, [lead], sections)
        return self._front_matter() + to_markdown(report, Path())

    def _front_matter(self) -> str:
        """What the hub reads, as YAML."""
        sets = [local_name(name) for name in self.trained.DATASETS.NAMES]
        lines = {
            "license": self.license or FILL_IN,
            "library_name": "fastreid-transreid",
            "pipeline_tag": "image-feature-extraction",
            "tags": [*TAGS, *(f"dataset:{name}" for name in sets)],
        }
        text = "\n".join(f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in lines.items())
        return f"---\n{text}\n---\n\n"

    def _training(self) -> Table:
        cfg, solver = self.trained, self.trained.SOLVER
        seed = str(cfg.SEED) if cfg.SEED >= 0 else "not fixed (-1)"
        rows = {
            "data sets": ", ".join(local_name(name) for name in cfg.DATASETS.NAMES) or NOT_KNOWN,
            "identities": str(self.identities or NOT_KNOWN),
            "seeds": f"{seed}; one run",
            "epochs": str(solver.MAX_EPOCH),
            "images of a step": str(solver.IMS_PER_BATCH),
            "optimizer, learning rate": f"{solver.OPT}, {solver.BASE_LR:g}",
            "losses": ", ".join(cfg.MODEL.LOSSES.NAME),
            "started from": self.start or NOT_KNOWN,
        }
        return Table("The run", ["", "value"], [[key, value] for key, value in rows.items()])

    def _metrics(self) -> list[Block]:
        if not self.metrics:
            command = "transreid train --eval-only TEST.FASTEVAL.SAVE_RESULTS npz"
            return [Text(f"Not run. {command} writes results, which transreid publish reads.")]
        headers = ["test set", "queries", "gallery", *MEASURES, "ranked by"]
        rows = [one.cells() for one in self.metrics]
        checked = ", ".join(f"{one.dataset}: {one.checked}" for one in self.metrics)
        return [
            Table("Percent, with 95 % intervals over identities", headers, rows),
            Text(
                "Intervals are of the choice of test identities; another training run with another "
                "seed is not in them. Images that were extracted again with these weights, and "
                f"gave the features that were evaluated: {checked}."
            ),
        ]

    def _license(self) -> list[str]:
        return [
            f"Of these weights: {self.license or FILL_IN}",
            "The terms of the training data sets and of the weights that the run started from bind "
            "as well: most data sets for re-identification are given for research alone.",
        ]


def _images(preprocess: Mapping[str, Any]) -> Text:
    size, crop = preprocess["size"], preprocess["crop"]
    resize = f"resized to {' x '.join(map(str, size))} ({preprocess['interpolation']})"
    if crop:
        resize += f", the centre of {' x '.join(map(str, crop))} kept"
    return Text(
        f"Images: height x width {resize}, {preprocess['color']}, "
        f"{preprocess['range'][0]}..{preprocess['range'][1]}, less {_short(preprocess['mean'])}, "
        f"by {_short(preprocess['std'])}; the extractor does it. Other programs read it in "
        "preprocess.json."
    )


def _short(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.4g}' for value in values)})"


def _side_information(extractor: FeatureExtractor) -> list[Block]:
    cameras, views = camera_rows(extractor), view_rows(extractor)
    if not cameras and not views:
        return [Text("The model knows none: images alone go in.")]
    unknown = extractor.cfg.MODEL.SIE.UNKNOWN
    blocks: list[Block] = [
        Text(
            "Give the row as camids= (viewids=), where you know it; None is unknown, and rows that "
            f"no training image had count as unknown: MODEL.SIE.UNKNOWN {unknown}."
        )
    ]
    for name, rows in (("camera", cameras), ("viewpoint", views)):
        if rows:
            blocks.append(Table(f"Rows of the {name}s", ["row", name, "trained"], rows))
    return blocks


def _thresholds(thresholds: Mapping[str, Any]) -> list[Block]:
    if not thresholds:
        return [Text("Not calibrated: find one on images of your own with transreid calibrate.")]
    rows = [
        [
            f"{point['wanted_far']:g}",
            f"{point['threshold']:.6f}",
            f"{100 * point['far']:.4g}",
            f"{100 * point['tar']:.4g}",
            point.get("remark", ""),
        ]
        for point in thresholds["points"]
    ]
    headers = ["false accept rate", "same from cosine", "measured, %", "true accepts, %", "note"]
    pairs = f"{thresholds['num_positive']} positive and {thresholds['num_negative']} negative pairs"
    return [Table(f"Of {pairs}, in threshold.json with intervals", headers, rows)]
