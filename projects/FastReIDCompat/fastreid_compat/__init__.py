"""FastReID 1.4.0 on today's Python, torch and numpy, with CUDA or without.

``import fastreid_compat`` before anything of fastreid is all that is needed: the released package
is repaired in memory, once, and only where it is broken. ``python -m fastreid_compat`` lists the
fixes.
"""

from reid_common.moved import moved_modules

from .registry import FIXES, Fix, apply_all

apply_all()
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
        "fastreid_compat.side_information": "reid_core.side_information.labelled_sets",
        "fastreid_compat.errors": "reid_common.errors",
        "fastreid_compat.atomic_files": "reid_common.files",
        "fastreid_compat.schedules": "fastreid_compat.repairs.training.schedules",
        "fastreid_compat.transforms": "fastreid_compat.repairs.loading.transforms",
        "fastreid_compat.mixed_precision": "fastreid_compat.repairs.training.mixed_precision",
        "fastreid_compat.fixes": "fastreid_compat.registry",
    }
)

__all__ = ["FIXES", "Fix", "apply_all"]
