"""Stages of a pipeline: trainings, scoring, selection, evaluations, as commands run by hand."""

from .evaluation import EvaluationStage, evaluation_stage
from .stage import Stage, find_config, is_dino, read_config, tool
from .training import TrainingStage, only_listed, started_from, training_stage

__all__ = [
    "EvaluationStage",
    "Stage",
    "TrainingStage",
    "evaluation_stage",
    "find_config",
    "is_dino",
    "only_listed",
    "read_config",
    "started_from",
    "tool",
    "training_stage",
]
