"""Synthetic data: ToyReID's persons, and the pool of ToyUnlabeled."""

from reid_core.config import Project, register_project

from .reid import ToyReID

register_project(Project("toyreid"))

__all__ = ["ToyReID"]
