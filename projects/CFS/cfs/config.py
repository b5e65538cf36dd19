"""Config keys of CFS: the data filters of training sets."""

from __future__ import annotations

from fastreid.config import CfgNode


def add_cfs_config(cfg: CfgNode) -> None:
    """Add the keys of this project, in place."""
    # Data filters of the training images, all of DATASETS.NAMES together; each a mapping with the
    # NAME of a filter (cfs.filters) and its options, applied in this order:
    #   FILTERS:
    #   - {NAME: ResolutionFilter, MIN_HEIGHT: 64}
    #   - {NAME: CFSFilter, SCORES: scores/, KEEP: 0.5}
    # A list in a file replaces that of its _BASE_. Test images are never filtered.
    cfg.DATASETS.FILTERS = []
    # Folder of what filters measure (sizes, sharpness, hashes), so that a later run need not look
    # at the images again; several runs may share it. "" = OUTPUT_DIR/filter_cache
    cfg.DATASETS.FILTER_CACHE = ""
