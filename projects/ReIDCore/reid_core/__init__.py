"""What all projects share on top of the repaired FastReID: data sets, side information, runs."""

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
from fastreid_compat.registry import apply_modules

# Applied in this order: what wraps the same function later wraps it outside.
apply_modules(
    __name__,
    (
        "config.keys",
        "run.image_sets",
        "run.training_record",
        "run.cpu_speed",
        "run.compiling",
        "run.evaluators",
        "run.validation",
    ),
)
