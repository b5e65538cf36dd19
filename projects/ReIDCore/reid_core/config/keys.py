"""Keys that every FastReID config gains: data, evaluation and compilation."""

from __future__ import annotations

from fastreid_compat.registry import fix
from fastreid_compat.repairs.config.settings import add_default_keys

NEW_KEYS = {
    # Rows of camera embeddings, as in ("msmt17:15", "market1501:6"): data set and its number of
    # cameras. (): found from the images of the training sets (see side_information/cameras.py).
    "DATASETS.CAMERAS": (),
    # CSV files of viewpoints and cameras, see side_information/label_files.py
    "DATASETS.SIDE_INFORMATION": (),
    # Data filters of the training sets, and where they keep what they measure (project CFS)
    "DATASETS.FILTERS": [],
    "DATASETS.FILTER_CACHE": "",
    # Name in EVALUATOR_REGISTRY
    "TEST.EVALUATOR": "ReidEvaluator",
    # torch.compile of the model's backbone, or of the parts that the model names: run/compiling.py
    "MODEL.COMPILE": False,
}


@fix(
    where="config/defaults.py:17",
    since="always",
    symptom="no keys for the camera table, viewpoints, data filters, another evaluator, compiling",
)
def keys_of_core() -> bool:
    """Add the keys of :data:`NEW_KEYS` to the default config where they are absent."""
    return add_default_keys(NEW_KEYS)
