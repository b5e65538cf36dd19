"""The reference of all config keys, docs/config.md, from their declaration."""

from __future__ import annotations

from collections.abc import Iterable

from .declaration import Key, value_of
from .projects import declared_keys, load_config

INTRODUCTION = """# Config keys

Every key that a run reads: its default, what it may hold, and what it does. Write keys into a YAML
file, or behind the options of a command as `KEY VALUE`. A value that is not allowed is refused
before anything is built, with the key, the value and what to write. Keys marked * are read by
training only, so that an evaluation does not check them. A number whose default has a decimal point
is written with one, as in `1.0`.

This page is written by `python tools/config_reference.py -o docs/config.md`.
"""
# Sections with a table of their own; a key belongs to the longest that its name starts with.
SECTIONS = {
    "": "Run",
    "MODEL": "Model",
    "MODEL.BACKBONE": "Backbone",
    "MODEL.SIE": "Side information embedding (TransReID)",
    "MODEL.HEADS": "Head",
    "MODEL.JPM": "Jigsaw patch module (TransReID)",
    "MODEL.LOSSES": "Losses",
    "KD": "Distillation",
    "INPUT": "Images and augmentation",
    "DATASETS": "Data sets",
    "DATALOADER": "Loading",
    "SOLVER": "Optimization",
    "TEST": "Evaluation",
    "TEST.FASTEVAL": "FastEval",
    "DINO": "Pre-training: DINO, and what all methods read",
    "MOCO": "Pre-training with MoCo v2, MoCo v3 and MoBY",
    "IBOT": "Pre-training with iBOT",
    "CLUSTER": "Cluster contrast",
}
# Defaults that depend on the machine.
SHOWN = {"MODEL.DEVICE": "`cuda`, `cpu` without CUDA"}


def reference() -> str:
    """Text of docs/config.md."""
    keys = [(package, key) for package, keys in declared_keys().items() for key in keys]
    parts = [INTRODUCTION]
    for section, title in SECTIONS.items():
        inside = [(package, key) for package, key in keys if section_of(key.name) == section]
        name = f": `{section}`" if section else ""
        parts.append(f"## {title}{name}\n\n{table(inside)}")
    return "\n".join(parts)


def section_of(name: str) -> str:
    """Section of a key by its dotted name."""
    return max((s for s in SECTIONS if name.startswith(f"{s}." if s else "")), key=len)


def table(keys: Iterable[tuple[str, Key]]) -> str:
    """Markdown table of keys with the packages that declare them."""
    defaults = load_config()
    lines = ["| Key | Default | Allowed | Meaning | Package |", "|---|---|---|---|---|"]
    for package, key in keys:
        default = SHOWN.get(key.name) or f"`{_shown(value_of(defaults, key.name))}`"
        mark = "*" if key.training else ""
        cells = [f"`{key.name}`{mark}", default, key.allowed.text, key.meaning, package]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return repr(float(f"{value:.6g}"))
    if isinstance(value, list):
        return f"[{', '.join(_shown(item) for item in value)}]"
    return repr(value)
