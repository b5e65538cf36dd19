"""Writing a folder of published weights, complete or not at all, and checked before it appears."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import yaml
from fastreid.config import CfgNode
from reid_common import published
from reid_common.errors import UserError
from reid_common.files import cannot_write, write_json
from reid_core.config import load_config
from reid_core.run.reports import evenly_spread
from torch import Tensor

from ..inference.extractor import FeatureExtractor
from ..inference.published_model import preprocessing
from ..weights.identities import num_identities
from .card import Card
from .metrics import metrics_of
from .places import without_places
from .rows import known_pairs
from .thresholds import read_thresholds

# Keys that say where something was on the machine of the run, or how it was computed there.
OF_THE_MACHINE = (
    *("OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.DEVICE", "MODEL.COMPILE", "MODEL.COMPILE_MODE"),
    *("MODEL.BACKBONE.PRETRAIN_PATH", "DATASETS.SIDE_INFORMATION", "DATASETS.FILTER_CACHE"),
    "TEST.FASTEVAL.FEATURE_DIR",
)
CHECKED_PAIRS = 8  # of a camera and a viewpoint


@dataclass(frozen=True)
class Sources:
    """What a folder is made from.

    Attributes:
        config_file: YAML of the run.
        weights: checkpoint; None: MODEL.WEIGHTS.
        options: KEY VALUE pairs.
        results: results files of evaluations of these weights.
        calibration: folder of ``transreid calibrate``; None: no thresholds.
        license: of the weights; "" leaves it to be filled in.
        name: of the model in its card, as it is loaded; "" takes that of the folder.
    """

    config_file: str
    weights: str | None = None
    options: Sequence[str] = ()
    results: Sequence[str] = ()
    calibration: Path | None = None
    license: str = ""
    name: str = ""


def write_published(out: Path, sources: Sources, overwrite: bool = False) -> FeatureExtractor:
    """Write a folder of published weights, and read it again: features must be equal to the bit.

    Args:
        out: folder; it appears when it is complete.
        sources: see there.
        overwrite: replace a folder that was published before.

    Returns:
        The model as it was read from the folder.

    Raises:
        UserError: see the parts; a folder that is there already, or cannot be written.
    """
    check_out(out, overwrite)
    options = [*sources.options, "MODEL.COMPILE", "False"]
    extractor = FeatureExtractor(
        sources.config_file, sources.weights, device="cpu", options=options
    )
    weights = extractor.cfg.MODEL.WEIGHTS
    thresholds = read_thresholds(sources.calibration, weights) if sources.calibration else {}
    metrics = [metrics_of(file, extractor) for file in sources.results]
    trained = load_config(
        sources.config_file or Path(weights).parent / published.CONFIG, sources.options
    )
    facts = num_identities(weights), started_from(trained, weights)
    card = Card(extractor, trained, *facts, metrics, thresholds, sources.license)
    with _appearing(out, overwrite) as folder:
        _write_files(folder, extractor, thresholds)
        manifest = _manifest(folder, extractor)
        write_json(folder / published.MANIFEST, manifest)
        text = card.markdown(sources.name or out.name, manifest)
        (folder / published.CARD).write_text(text, encoding="utf-8")
        again = FeatureExtractor.from_pretrained(folder, device="cpu")
        check_same_model(extractor, again)
    return again


def check_out(out: Path, overwrite: bool) -> None:
    """Raise UserError where a folder is in the way."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir() or not published.is_published(out):
        raise UserError(
            f"-o: {str(out)!r} is there, and is no folder of published weights: it is not "
            "replaced; name another"
        )
    if not overwrite:
        raise UserError(
            f"-o: {str(out)!r} holds published weights already; replace them, its model card "
            "included, with --overwrite, or name another folder"
        )


@contextlib.contextmanager
def _appearing(out: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder beside ``out``, which takes its place at the end."""
    folder, old = (out.with_name(f".{out.name}.{end}") for end in ("part", "old"))
    try:
        shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
        folder.mkdir(parents=True)
        yield folder
        check_out(out, overwrite)
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(out, old)
        os.replace(folder, out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        for left in (folder, old):
            shutil.rmtree(left, ignore_errors=True)


def _write_files(folder: Path, extractor: FeatureExtractor, thresholds: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    state = extractor.model.state_dict()  # the classifier of the training identities is not in it
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
    save_file(tensors, folder / published.WEIGHTS, metadata={"format": "pt"})
    text = portable_config(extractor.cfg)
    (folder / published.CONFIG).write_text(text, encoding="utf-8")
    if thresholds:
        write_json(folder / published.THRESHOLD, thresholds)


def portable_config(cfg: CfgNode) -> str:
    """YAML of a config without what is of this machine: paths, device, compiler."""
    default, cfg = load_config(), cfg.clone()
    cfg.defrost()
    for key in OF_THE_MACHINE:
        *path, last = key.split(".")
        source, target = default, cfg
        for name in path:
            source, target = source[name], target[name]
        target[last] = source[last]
    return yaml.safe_dump(without_places(yaml.safe_load(cfg.dump())), sort_keys=True)


def _manifest(folder: Path, extractor: FeatureExtractor) -> dict[str, Any]:
    cfg = extractor.cfg
    return {
        "format": published.FORMAT,
        "version": published.VERSION,
        **preprocessing(cfg),
        "flip": bool(cfg.TEST.FLIP.ENABLED),
        "feature_dim": extractor.feature_dim,
        "l2_normalised": True,
        "files": published.file_entries(folder),
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
    }


def started_from(cfg: CfgNode, weights: str) -> str:
    """Name of the weights that a run started from; "" where the config does not say it any more.

    Args:
        cfg: config of the run.
        weights: checkpoint that is published, which the config may name as well.
    """
    backbone = cfg.MODEL.BACKBONE
    if published.is_published(Path(weights).parent):
        return ""
    if cfg.MODEL.WEIGHTS and os.path.abspath(cfg.MODEL.WEIGHTS) != os.path.abspath(weights):
        return Path(cfg.MODEL.WEIGHTS).name
    if not backbone.PRETRAIN:
        return "random weights"
    own = backbone.get("TIMM_NAME", "") or backbone.NAME
    return Path(backbone.PRETRAIN_PATH).name or f"pretrained weights of {own}"


def check_same_model(one: FeatureExtractor, other: FeatureExtractor) -> None:
    """Hold two models against one another: weights, and features of noise for several rows.

    Raises:
        RuntimeError: they differ, in a single bit.
    """
    states = one.model.state_dict(), other.model.state_dict()
    names = [name for name in {**states[0], **states[1]} if not _equal(name, *states)]
    pairs = known_pairs(one)
    ids = torch.tensor([pairs[index] for index in evenly_spread(len(pairs), CHECKED_PAIRS)])
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(len(ids), 3, *one.cfg.INPUT.SIZE_TEST, generator=draw) * 255
    features = [extractor.extract(images, *ids.unbind(1)) for extractor in (one, other)]
    if names or not torch.equal(*features):
        raise RuntimeError(f"the published model is another one: {names or 'its features differ'}")


def _equal(name: str, one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return name in one and name in other and torch.equal(one[name].cpu(), other[name].cpu())
