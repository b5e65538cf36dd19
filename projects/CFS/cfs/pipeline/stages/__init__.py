"""Stages of a pipeline: trainings, scoring, selection, evaluations, as commands run by hand."""
