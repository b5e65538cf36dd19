"""From DATASETS.FILTERS to filters; whatever is misspelt is said with what was meant."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from fastreid.utils.registry import Registry
from reid_common.errors import UserError
from reid_core.config.values import check_choice
from reid_core.data.filter_hook import KEY

from .base import DataFilter

FILTER_REGISTRY = Registry("FILTER")
FILTER_REGISTRY.__doc__ = "Classes of data filters, by the NAME in DATASETS.FILTERS."
EXAMPLE = "{NAME: ResolutionFilter, MIN_HEIGHT: 64}"


def build_filters(entries: Iterable[Any]) -> list[DataFilter]:
    """Build the filters of DATASETS.FILTERS: mappings of NAME and options, each in capitals.

    Raises:
        UserError: an entry that is no mapping, a name or an option that is not known, missing or
            cannot have its value: which entry, and what to write.
    """
    if isinstance(entries, (str, Mapping)):
        raise UserError(f"{KEY} is {entries!r}; write a list of mappings, as in [{EXAMPLE}]")
    return [_build_filter(entry, f"{KEY}[{number}]") for number, entry in enumerate(entries)]


def _build_filter(entry: Any, place: str) -> DataFilter:
    if not isinstance(entry, Mapping) or "NAME" not in entry:
        raise UserError(f"{place}: {entry!r} is no mapping with a NAME; write {EXAMPLE}")
    name = entry["NAME"]
    check_choice(f"{place}.NAME", name, FILTER_REGISTRY._obj_map)
    cls = FILTER_REGISTRY.get(name)
    options = {str(key): value for key, value in entry.items() if key != "NAME"}
    known = {key.upper(): p for key, p in inspect.signature(cls).parameters.items()}
    for key in options:
        if key not in known:
            close = difflib.get_close_matches(key.upper(), known, n=1, cutoff=0.4)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UserError(
                f"{place}: {name} has no option {key!r}.{hint} Known: {', '.join(known)}."
            )
    missing = [key for key, p in known.items() if p.default is p.empty and key not in options]
    if missing:
        raise UserError(f"{place}: {name} needs {missing[0]}; known are {', '.join(known)}")
    try:
        return cls(**{key.lower(): value for key, value in options.items()})
    except UserError as error:
        raise UserError(f"{place}, {name}: {error}") from error


def number_option(name: str, value: Any) -> Any:
    """Return an option that is a number from 0, or None; else raise UserError."""
    right = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    if value is not None and not right:
        raise UserError(f"{name} is {value!r}; write a number from 0")
    return value


def range_option(low_name: str, low: Any, high_name: str, high: Any) -> tuple[Any, Any]:
    """Return options that are numbers from 0 or None, the first not above the second."""
    low, high = number_option(low_name, low), number_option(high_name, high)
    if low is not None and high is not None and low > high:
        raise UserError(f"{low_name} {low} is above {high_name} {high}; no image can be both")
    return low, high
