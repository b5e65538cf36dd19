"""Evaluation and re-ranking of large galleries, in little memory, with FastReID's figures."""

from reid_core.config import Project, register_project

from .config import KEYS, add_fasteval_config
from .distances.expansion import Expansion
from .evaluation import Evaluation, distance_blocks, evaluate_features
from .evaluator import FastEvaluator
from .options import Options, Rerank, options_from_config
from .ranking.metrics import RankingResult
from .ranking.roc import RocCurve
from .unfinished import evaluate_model

register_project(Project("fasteval", add_fasteval_config, keys=KEYS))

__all__ = [
    "Evaluation",
    "Expansion",
    "FastEvaluator",
    "Options",
    "RankingResult",
    "Rerank",
    "RocCurve",
    "add_fasteval_config",
    "distance_blocks",
    "evaluate_features",
    "evaluate_model",
    "options_from_config",
]
