"""Folders of published weights: model, config, preprocessing and a model card made from the run."""
