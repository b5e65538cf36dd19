"""Config keys that all projects share, projects' own keys, and the loading of configs."""

from .projects import Project, find_config, load_config, register_project, trainer_class

__all__ = ["Project", "find_config", "load_config", "register_project", "trainer_class"]
