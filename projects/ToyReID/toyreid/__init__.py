"""Synthetic data: ToyReID's persons, and the pool of ToyUnlabeled."""
