"""What all projects share on top of the repaired FastReID: data sets, side information, runs."""

import fastreid_compat  # noqa: F401  (first: makes fastreid importable)
from fastreid_compat.registry import apply_modules
from reid_common.moved import moved_modules

# Applied in this order: what wraps the same function later wraps it outside.
apply_modules(
    __name__,
    (
        "config.keys",
        "run.image_sets",
        "run.cpu_speed",
        "run.compiling",
        "run.evaluators",
        "run.validation",
    ),
)

moved_modules(
    {
        "fastreid_compat.command_line": "reid_core.run.command_line",
        "fastreid_compat.cpu_speed": "reid_core.run.cpu_speed",
        "fastreid_compat.validation": "reid_core.run.preflight",
        "fastreid_compat.evaluators": "reid_core.run.evaluators",
        "fastreid_compat.item_filters": "reid_core.data.filter_hook",
        "fastreid_compat.dataset_names": "reid_core.data.names",
        "fastreid_compat.datasets": "reid_core.run.image_sets",
        "fastreid_compat.cameras": "reid_core.side_information.rows",
        "fastreid_compat.side_information": "reid_core.side_information.label_files",
    }
)
