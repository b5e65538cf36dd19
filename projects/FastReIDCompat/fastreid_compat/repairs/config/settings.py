"""Configuration: the device, keys that repairs read, errors that name the key."""

from __future__ import annotations

import contextlib
import difflib
import functools
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from fastreid.config import CfgNode, defaults
from fastreid.engine import defaults as engine_defaults
from fastreid.modeling.backbones.regnet import config as regnet_config
from fastreid.modeling.backbones.regnet import effnet, regnet
from fastreid.modeling.meta_arch import build as meta_arch_build
from fastreid.utils import comm
from fastreid.utils.env import seed_all_rng
from reid_common.errors import UserError

from ...registry import Original, fix, replaces, source_has
from .wrong_types import wrong_type

logger = logging.getLogger(__name__)

NEW_KEYS = {
    # >= 0 fixes initialisation, sampling and augmentation (rank r starts from SEED + r);
    # -1: another seed in every run.
    "SEED": -1,
    # Name in TRANSFORM_REGISTRY: from a PIL image to a tensor
    "INPUT.TRANSFORM": "FastReID",
    # "auto" (bfloat16 where the device has it, float16 on other GPUs), "fp16", "bf16", or
    # "measured" (on a CPU bfloat16 where it pays, else as auto)
    "SOLVER.AMP.DTYPE": "auto",
}


@fix(
    where="config/defaults.py:23",
    symptom="without CUDA: RuntimeError: Found no NVIDIA driver, unless the config says"
    " MODEL.DEVICE cpu",
)
def default_device() -> bool:
    """Let the default of MODEL.DEVICE be ``cpu`` on a machine without CUDA."""
    if torch.cuda.is_available() or not defaults._C.MODEL.DEVICE.startswith("cuda"):
        return False
    defaults._C.MODEL.DEVICE = "cpu"
    return True


@fix(
    where="modeling/meta_arch/build.py:25",
    symptom="a config with MODEL.DEVICE: cuda cannot be used, not even evaluated, without CUDA",
)
@replaces(meta_arch_build, "build_model", "torch.device(cfg.MODEL.DEVICE)")
def device_fallback(original: Original, cfg: CfgNode) -> torch.nn.Module:
    """Build the model on the CPU, with one warning, where the config asks for an absent CUDA."""
    device = resolve_device(cfg)
    if device != cfg.MODEL.DEVICE:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.DEVICE = device
        cfg.freeze()
    return original(cfg)


def resolve_device(cfg: CfgNode) -> str:
    """Return ``cfg.MODEL.DEVICE``, or ``cpu`` (with one warning) if that CUDA is absent."""
    device = str(cfg.MODEL.DEVICE)
    if not device.startswith("cuda") or torch.cuda.is_available():
        return device
    _warn_no_cuda()
    return "cpu"


@functools.cache
def _warn_no_cuda() -> None:
    logger.warning("MODEL.DEVICE asks for CUDA, which this machine lacks: running on the CPU")


@fix(
    where="config/defaults.py:17",
    symptom="a run cannot be repeated: there is no key for a seed; nor for another pipeline of"
    " images and the type of mixed precision",
)
def new_keys() -> bool:
    """Add the keys of :data:`NEW_KEYS` to the default config where they are absent."""
    return add_default_keys(NEW_KEYS)


def add_default_keys(keys: Mapping[str, Any]) -> bool:
    """Add keys, by dotted names, to FastReID's defaults; returns whether one was absent."""
    changed = False
    for key, value in keys.items():
        *path, name = key.split(".")
        node = functools.reduce(getattr, path, defaults._C)
        if name not in node:
            node[name] = value
            changed = True
    return changed


@fix(
    where="engine/defaults.py:111",
    symptom="two runs of one config differ from the first weight on: default_setup draws a seed",
)
@replaces(engine_defaults, "default_setup", "seed_all_rng()")
def seeded_setup(original: Original, cfg: CfgNode, args: Any) -> None:
    """Let ``default_setup`` seed with ``cfg.SEED + rank``, as detectron2 does, if SEED >= 0."""
    seed = getattr(cfg, "SEED", -1)
    drawing = engine_defaults.seed_all_rng
    if seed >= 0:
        seed += comm.get_rank()
        engine_defaults.seed_all_rng = functools.partial(seed_all_rng, seed)
    try:
        original(cfg, args)
    finally:
        engine_defaults.seed_all_rng = drawing
    if seed >= 0:
        logger.info("Random numbers of this process start from seed %d", seed)


@fix(
    where="modeling/backbones/regnet/regnet.py:568, effnet.py:253",
    symptom="FileNotFoundError for RegNet's and EfficientNet's yaml file outside of a checkout",
)
def backbone_files() -> bool:
    """Read the yaml files of these backbones from the installed package, from any directory."""
    config = regnet_config.cfg
    broken = any(
        source_has(builder, "'fastreid/modeling/backbones/regnet/")
        for builder in (regnet.build_regnet_backbone, effnet.build_effnet_backbone)
    )
    if not broken or "merge_from_file" in vars(config):
        return False
    folder = Path(regnet_config.__file__).parent
    merge = config.merge_from_file

    def merge_from_package(path: str) -> None:
        packaged = folder / path.rpartition("backbones/regnet/")[2]
        merge(str(packaged if packaged.is_file() else path))

    # Past yacs' __setattr__, which would make a config key of it.
    object.__setattr__(config, "merge_from_file", merge_from_package)
    return True


@fix(
    where="config/config.py:100-134",
    symptom="a misspelt key or a wrong type: the error names neither file nor right spelling",
)
def config_errors() -> bool:
    """Name the file, the key and the closest existing key when a config cannot be merged."""
    if not source_has(CfgNode.merge_from_file, "load_yaml_with_base("):
        return False
    merge_file, merge_list = CfgNode.merge_from_file, CfgNode.merge_from_list

    @functools.wraps(merge_file)
    def merge_from_file(self: CfgNode, cfg_filename: str, allow_unsafe: bool = False) -> None:
        with _explained(self, f"config file {os.fspath(cfg_filename)!r}"):
            merge_file(self, cfg_filename, allow_unsafe)

    @functools.wraps(merge_list)
    def merge_from_list(self: CfgNode, cfg_list: list[Any]) -> None:
        with _explained(self, "command-line options"):
            merge_list(self, cfg_list)

    CfgNode.merge_from_file, CfgNode.merge_from_list = merge_from_file, merge_from_list
    return True


@contextlib.contextmanager
def _explained(cfg: CfgNode, source: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        name = error.filename or source
        reason = error.strerror or error
        raise UserError(f"{source}: cannot read {str(name)!r}: {reason}; check the path") from error
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not valid YAML: {error}") from error
    except TypeError as error:
        raise UserError(f"{source} must hold keys with values, as in SEED: 1") from error
    except (KeyError, AssertionError, ValueError) as error:
        text = str(error.args[0]) if error.args else ""
        unknown = re.search(r"Non-existent (?:config )?key: (\S+)", text)
        if unknown:
            text = unknown_key(unknown[1], list(full_keys(cfg)))
        raise UserError(f"{source}: {wrong_type(text)}") from error


def unknown_key(key: str, known: list[str]) -> str:
    """Say that ``key`` does not exist, and which of ``known`` it may have meant."""
    by_upper_case = {name.upper(): name for name in known}
    close = difflib.get_close_matches(key.upper(), by_upper_case, n=1)
    hint = f"; did you mean {by_upper_case[close[0]]}?" if close else ""
    return f"there is no key {key}{hint}"


def full_keys(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every node and value, as in ``MODEL.BACKBONE.NAME``."""
    for name, value in cfg.items():
        yield prefix + name
        if isinstance(value, CfgNode):
            yield from full_keys(value, f"{prefix}{name}.")
