"""Keys by declaration: name, default, allowed values and meaning in one place, and one check.

A package lists its keys as :class:`Key` and what several keys together must fulfil as
:class:`Rule`. The defaults of a config are added from the list (:func:`add_keys`), a merged config
is checked against it (:func:`check_config`), and docs/config.md is written from it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from fastreid.config import CfgNode
from reid_common.errors import UserError

from .values import Allowed

# Default of a key that FastReID or one of its repairs adds.
INHERITED: Any = object()
ABSENT: Any = object()


@dataclass(frozen=True)
class Key:
    """One key of a config."""

    name: str  # as in "MODEL.BACKBONE.NAME"
    default: Any  # INHERITED where the key is there already
    allowed: Allowed
    meaning: str  # what it does; unit, symbol or section of the paper
    training: bool = False  # only training reads it, so that an evaluation does not check it


@dataclass(frozen=True)
class Rule:
    """What several keys must fulfil together."""

    keys: tuple[str, ...]  # that it reads; it is left out where a config lacks one of them
    # What is wrong and what to do about it, None if nothing is. It may also raise UserError.
    check: Callable[[CfgNode], str | None]
    training: bool = False  # only training needs it


def rule_of(
    architectures: Collection[str], check: Callable[[CfgNode], str | None], *keys: str
) -> Rule:
    """A rule about trainings of some meta-architectures."""

    def of_architectures(cfg: CfgNode) -> str | None:
        return check(cfg) if cfg.MODEL.META_ARCHITECTURE in architectures else None

    return Rule(keys, of_architectures, training=True)


def section(name: str, *rows: tuple[Any, ...]) -> list[Key]:
    """Declare keys of a section ("" for none).

    Args:
        name: of the section, as in "MODEL.BACKBONE".
        *rows: (name in the section, default, allowed, meaning), and ``training`` where it is True.
    """
    prefix = f"{name}." if name else ""
    return [Key(prefix + key, *row) for key, *row in rows]


def existing(name: str, *rows: tuple[Any, ...]) -> list[Key]:
    """As :func:`section`, of keys that every config of FastReID has: rows without a default."""
    return section(name, *((key, INHERITED, *row) for key, *row in rows))


def value_of(cfg: CfgNode, name: str) -> Any:
    """Value of a key by its dotted name, ABSENT if the config lacks it."""
    node: Any = cfg
    for part in name.split("."):
        node = node.get(part, ABSENT) if isinstance(node, CfgNode) else ABSENT
    return node


def add_keys(cfg: CfgNode, keys: Iterable[Key]) -> None:
    """Set keys to their defaults, in place; nodes that are missing are made."""
    for key in keys:
        if key.default is INHERITED:
            continue
        node, (*path, name) = cfg, key.name.split(".")
        for part in path:
            node = node.setdefault(part, CfgNode())
        node[name] = copy.deepcopy(key.default)


def check_config(
    cfg: CfgNode, keys: Iterable[Key], rules: Iterable[Rule] = (), training: bool = True
) -> None:
    """Check every key that a config has, then what keys must fulfil together.

    ``training`` False leaves out what only training reads.

    Raises:
        UserError: the first value that cannot work: its key, the value and what to write instead.
    """
    values = ((key, value_of(cfg, key.name)) for key in keys if training or not key.training)
    problems = (key.allowed.problem(key.name, v) for key, v in values if v is not ABSENT)
    needed = (rule for rule in rules if training or not rule.training)
    there = (r for r in needed if all(value_of(cfg, name) is not ABSENT for name in r.keys))
    for problem in itertools.chain(problems, (rule.check(cfg) for rule in there)):
        if problem:
            raise UserError(problem)
