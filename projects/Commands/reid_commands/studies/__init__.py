"""Studies: several trainings and evaluations, with one table at the end."""
