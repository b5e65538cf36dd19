"""Studies: several trainings and evaluations, with one table at the end."""

import reid_core  # noqa: F401  (first: repairs FastReID)
