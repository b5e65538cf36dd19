"""Evaluators by name, and the name under which results are shown.

``TEST.EVALUATOR`` names a class of :data:`EVALUATOR_REGISTRY`. A data set whose protocol repeats
its test over several splits says so itself, see
:mod:`fastreid_compat.repairs.evaluation.repeated_splits`; the evaluator of the config then ranks
each split.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from fastreid.config import CfgNode
from fastreid.data.datasets import msmt17
from fastreid.engine import defaults
from fastreid.evaluation import ReidEvaluator, testing
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid_compat.registry import fix, rebind, source_has
from fastreid_compat.repairs.evaluation.repeated_splits import RepeatedEvaluator

from ..config.keys import EVALUATOR_REGISTRY
from ..data.names import dataset_class, result_name
from ..data.opening import data_root

# Evaluators of projects: classes built with (cfg, num_query, output_dir). They are FastReID's
# DatasetEvaluator: process() gets a batch with "targets" and "camids" and its features (B, D),
# queries first; evaluate() gathers from all processes and returns {name: percent} on the first.
EVALUATOR_REGISTRY.register(ReidEvaluator)


def make_evaluator(
    cfg: CfgNode, name: str, num_query: int, output_dir: str | None = None
) -> DatasetEvaluator:
    """Return the evaluator of ``name``, as in DATASETS.TESTS, whose queries come first."""
    evaluator, dataset = EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR), dataset_class(name)
    if getattr(dataset, "num_repeats", 1) == 1:
        made = evaluator(cfg, num_query, output_dir)
        made.dataset_name = name  # for those that write files
        return made
    return RepeatedEvaluator(
        dataset.test_split, dataset.num_repeats, lambda count: evaluator(cfg, count, output_dir)
    )


@fix(
    where="engine/defaults.py:413",
    symptom="another evaluator, or a protocol with several splits, needs a trainer of its own",
)
def evaluator_by_name() -> bool:
    """Let ``DefaultTrainer.build_evaluator`` look ``TEST.EVALUATOR`` up."""
    trainer = defaults.DefaultTrainer
    if not source_has(trainer.build_evaluator, "ReidEvaluator(cfg, num_query, output_dir)"):
        return False

    def build_evaluator(
        cls: Any, cfg: CfgNode, dataset_name: str, output_dir: str | None = None
    ) -> tuple[Any, DatasetEvaluator]:
        loader, num_query = cls.build_test_loader(cfg, dataset_name)
        return loader, make_evaluator(cfg, dataset_name, num_query, output_dir)

    trainer.build_evaluator = classmethod(build_evaluator)
    return True


@fix(
    where="evaluation/testing.py:23",
    since="always",
    symptom="the table of results does not say whether MSMT17 is V1 or V2, whose metrics differ",
)
def results_name_the_data() -> bool:
    """Show results under the name that tells what was tested: MSMT17_V1, the name of a folder."""
    original = testing.print_csv_format
    if not source_has(original, "results.pop('dataset')"):
        return False

    @functools.wraps(original)
    def print_csv_format(results: dict[str, Any]) -> None:
        results["dataset"] = result_name(results["dataset"], data_root())
        original(results)

    def version(cls: Any, root: str) -> str:
        """Folder that FastReID takes the images from: the first that is there."""
        found = [name for name in msmt17.VERSION_DICT if os.path.exists(os.path.join(root, name))]
        return found[0] if found else cls.__name__

    msmt17.MSMT17.result_name = classmethod(version)
    rebind(original, print_csv_format)
    return True
