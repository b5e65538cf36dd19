"""Keys that every FastReID config gains: data, evaluation and compilation."""

from __future__ import annotations

from fastreid.utils.registry import Registry
from fastreid_compat.registry import fix
from fastreid_compat.repairs.config.settings import add_default_keys
from reid_common.left_out import MOST

from .declaration import Key
from .values import FLAG, PROBABILITY, TEXT, Allowed, one_of, registered, sequence

# Evaluators by name, see run/evaluators.py.
EVALUATOR_REGISTRY = Registry("EVALUATOR")

CUDA_GRAPHS = "reduce-overhead"
COMPILE_MODES = ("default", CUDA_GRAPHS)

CAMERAS = sequence(TEXT, text="a list of data sets with their numbers of cameras: ('msmt17:15',)")
FILES = sequence(TEXT, text="a list of CSV files")
# What a filter may hold, the project CFS knows.
ENTRIES = Allowed(
    "a list of mappings, as in [{NAME: ResolutionFilter, MIN_HEIGHT: 64}]",
    lambda value: isinstance(value, (list, tuple)),
)

FILTER_KEYS = (
    Key(
        "DATASETS.FILTERS",
        [],
        ENTRIES,
        "Data filters (project CFS) of the training images, all of DATASETS.NAMES together, in "
        "this order; each a mapping of NAME and options. A list in a file replaces that of its "
        "_BASE_. Test images are never filtered",
        training=True,
    ),
    Key(
        "DATASETS.FILTER_CACHE",
        "",
        TEXT,
        "Folder of what filters measure, for later runs; several may share it. '' is "
        "OUTPUT_DIR/filter_cache",
        training=True,
    ),
    Key(
        "DATASETS.MAX_UNREADABLE",
        MOST,
        PROBABILITY,
        "Greatest share of the training images that filters may leave out because they cannot be "
        "read; beyond it the run ends",
        training=True,
    ),
)
KEYS = (
    Key(
        "DATASETS.CAMERAS",
        (),
        CAMERAS,
        "Rows of camera embeddings: data sets and their numbers of cameras, such as "
        "('msmt17:15', 'market1501:6'). () finds them in the images of the training sets",
    ),
    Key("DATASETS.SIDE_INFORMATION", (), FILES, "CSV files of viewpoints and cameras"),
    *FILTER_KEYS,
    Key(
        "TEST.EVALUATOR",
        "ReidEvaluator",
        registered("a name in EVALUATOR_REGISTRY", EVALUATOR_REGISTRY._obj_map),
        "Evaluator: ReidEvaluator is FastReID's own, FastEvaluator that of FastEval",
    ),
    Key(
        "MODEL.COMPILE",
        False,
        FLAG,
        "torch.compile of the backbone, or what the model names: blocks, heads, losses",
    ),
    Key(
        "MODEL.COMPILE_MODE",
        "default",
        one_of(*COMPILE_MODES),
        "With COMPILE: default, or reduce-overhead, CUDA graphs, which are replayed, for steps "
        "whose kernels are too short for the host; on a CPU the same as default",
    ),
)


@fix(
    where="config/defaults.py:17",
    symptom="no keys for the camera table, viewpoints, data filters, another evaluator, compiling",
)
def keys_of_core() -> bool:
    """Add :data:`KEYS` to the default config where they are absent."""
    return add_default_keys({key.name: key.default for key in KEYS})
