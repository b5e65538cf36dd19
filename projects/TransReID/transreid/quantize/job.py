"""What a quantisation is asked for, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..inference.backends.backend import ONNX_RUNTIME
from ..inference.extractor import FeatureExtractor
from ..inference.image_lists import ImageItem
from ..inference.sources import graph_source
from .guarantee import Paired
from .images import LabelledImages


@dataclass(frozen=True)
class Recipe:
    """How a model becomes int8.

    Attributes:
        per_channel: a scale for each output channel of the weights.
        smoothing: outliers of activations go into the weights.
        most_kept: share of the layers, 0..1, that may stay in float32.
    """

    per_channel: bool = True
    smoothing: bool = True
    most_kept: float = 0.5


@dataclass
class Attempt:
    """One int8 graph: layers that stay in float32, and its paired comparisons with float32."""

    kept: list[str]
    results: list[Paired]

    @property
    def accepted(self) -> bool:
        """Whether no measure is inferior by more than the margin."""
        return all(result.accepted for result in self.results)


@dataclass
class Outcome:
    """What a quantisation found; the last attempt is the accepted one, or none is."""

    num_layers: int
    num_smoothed: int
    attempts: list[Attempt] = field(default_factory=list)
    sensitivities: dict[str, float] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether the int8 file was written."""
        return bool(self.attempts) and self.attempts[-1].accepted


@dataclass(frozen=True)
class Job:
    """One quantisation.

    Attributes:
        model: float32 .onnx file.
        out: int8 .onnx file to write.
        calibration: images whose ranges count.
        validation: images on which both models are compared.
        margin: 0..1, by which a measure may be lower.
        far: false accept rate of the TPR, 0..1.
        names: of calibration and validation, for the metadata.
        batch_size: images at once.
        num_workers: processes that read images.
        backends: what the int8 file is validated with: its features differ a little between them.
    """

    model: Path
    out: Path
    calibration: Sequence[ImageItem]
    validation: LabelledImages
    margin: float
    far: float
    names: tuple[str, str]
    recipe: Recipe = Recipe()
    batch_size: int = 16
    num_workers: int = 0
    backends: tuple[str, ...] = (ONNX_RUNTIME,)

    @property
    def folder(self) -> Path:
        """Where what takes long is kept."""
        return self.out.with_name(f"{self.out.name}.parts")

    def attempt(self, kept: int) -> Path:
        """The int8 file with so many layers in float32."""
        return self.folder / f"int8_{kept}.onnx"

    def int8(self, outcome: Outcome) -> Path:
        """The accepted int8 file, or that of the last attempt."""
        return self.out if outcome.accepted else self.attempt(len(outcome.attempts[-1].kept))

    def extractor(self, path: Path, backend: str = ONNX_RUNTIME) -> FeatureExtractor:
        """The extractor of a graph, whatever its profile."""
        source = graph_source(str(path), backend, any_profile=True)
        return FeatureExtractor.of(source, self.batch_size)
