"""Saved evaluations once more, without the model: other settings, intervals, comparison, report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reid_common.errors import UserError
from reid_core.run.devices import find_device

from ..analysis.analyse import analyse
from ..analysis.comparison import Compared, compare_evaluations
from ..analysis.paired import NUM_PERMUTATIONS
from ..options import options_from_config
from ..results.meta import config_of, settings_of
from ..results.result_set import checked_results_name, read_results
from .rank_lists import Look
from .tables import Evaluated, comparison_table, intervals_of, metrics_table
from .writing import make_folder, write_report


@dataclass(frozen=True)
class Settings:
    """How results files are evaluated.

    Attributes:
        options: KEY VALUE pairs that change the settings of the evaluation that wrote the file.
        num_query: queries of a file that does not say, as of features; None where it does.
        device: "auto" or a torch device.
        top: ranked images that are kept of each query.
        level: of the intervals, 0..1.
        resamples: random draws for intervals and tests.
        seed: of the draws.
    """

    options: Sequence[str] = ()
    num_query: int | None = None
    device: str = "auto"
    top: int = 10
    level: float = 0.95
    resamples: int = NUM_PERMUTATIONS
    seed: int = 0


def evaluate_files(
    files: dict[str, str], settings: Settings, look: Look, out: Path | None = None
) -> None:
    """Evaluate files (name -> results or feature file), print their tables, and write a report.

    Each is compared with the first one, query by query. ``out`` is the folder of the report; None
    writes none.

    Raises:
        UserError: a file that cannot be evaluated or compared, a folder that cannot be written.
    """
    if out is not None:
        make_folder(out)
    ones: list[Evaluated] = []
    comparisons: dict[str, Compared] = {}
    for name, path in files.items():
        ones.append(evaluated(name, path, settings, look, roc=out is not None))
        print(metrics_table(ones[-1]), end="\n\n", flush=True)
    for other in ones[1:]:
        compared = compare_evaluations(
            ones[0].analysis, other.analysis, settings.level, settings.resamples, settings.seed
        )
        comparisons[other.name] = compared
        names = (ones[0].name, other.name)
        print(comparison_table(names, compared, settings.level), end="\n\n", flush=True)
    if out is not None:
        write_report(ones, comparisons, out, look)
        print(f"wrote {out}")


def evaluated(
    name: str, path: str, settings: Settings, look: Look | None = None, roc: bool = False
) -> Evaluated:
    """Read and evaluate a file; the queries of ``look`` are checked before that.

    With ``roc`` there is a ROC also if the settings do not ask for it.
    """
    results = read_results(path, settings.num_query)
    if look is not None:
        look.check_queries(results.num_query)
    cfg = config_of(results.meta.get("evaluation", {}))
    cfg.TEST.FASTEVAL.DEVICE = str(find_device(settings.device))
    cfg.merge_from_list([*settings.options])
    options = options_from_config(cfg)
    analysis = analyse(
        results, replace(options, roc=roc or cfg.TEST.ROC.ENABLED, top_k=settings.top)
    )
    same = settings_of(cfg) == results.meta.get("evaluation")
    saved = results.meta.get("scores", {}) if same else {}
    intervals = intervals_of(analysis, settings.level, settings.resamples, settings.seed)
    return Evaluated(name, path, cfg, analysis, saved, intervals, settings.level)


def named(files: list[str], names: list[str] | None) -> dict[str, str]:
    """Name -> results file, see :func:`distinct_names`."""
    for file in files:
        checked_results_name(file)
    places = [os.path.splitext(file)[0] for file in files]
    return dict(zip(distinct_names(places, names, "results"), files, strict=True))


def distinct_names(places: list[str], names: list[str] | None, what: str) -> list[str]:
    """Names as given, or the last parts of places if they differ, or all but the shared part.

    Raises:
        UserError: a name is missing, or two of ``what`` have the same.
    """
    if names is None:
        whole = [os.path.abspath(place) for place in places]
        names = [os.path.basename(place) for place in whole]
        if len(set(names)) < len(names):
            shared = os.path.commonpath([os.path.dirname(place) for place in whole])
            names = [os.path.relpath(place, shared) for place in whole]
    if len(names) != len(places):
        raise UserError(f"--names has {len(names)} names for {len(places)} files; give one each")
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise UserError(f"two {what} have the name {twice!r}; give others with --names")
    return names
