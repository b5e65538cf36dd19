"""The file of a pipeline: which FastReID config each stage has, and how they belong together.

It is read as FastReID's configs are: _BASE_, keys that must exist, KEY VALUE pairs behind it. There
a key that begins with a stage's name or ALL, followed by one of FastReID's, is one of the
stage's (or all stages') config: ``SOURCE.SOLVER.MAX_EPOCH 5 ALL.MODEL.DEVICE cpu``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from reid_common.errors import UserError
from reid_common.left_out import MOST

from ..scores.selection import check_keep
from ..scoring.options import BATCH_SIZE, SHARD_SIZE, ScoringOptions

# In the order of Algorithm 1 of arXiv 2111.12084 and what follows it.
STAGES = ("source", "target", "score", "select", "pretrain", "finetune", "evaluate")
TRAINED = ("source", "target", "pretrain", "finetune")
ALL = "ALL"
PAIRS = "change the pipeline's config, as in KEEP 0.4; ALL.KEY and SOURCE.KEY those of its stages"


def default_config() -> CfgNode:
    """All keys of a pipeline, with their defaults."""
    cfg = CfgNode()
    # Folder of everything the pipeline makes
    cfg.OUTPUT_DIR = ""
    # Of every training; a stage's OPTS may say another
    cfg.SEED = 1
    # Processes of every stage: GPUs, or gloo processes on a CPU
    cfg.NUM_GPUS = 1
    # N': share (0..1) or number of the source's images that are selected; one of the two
    cfg.KEEP = None
    cfg.KEEP_NUM = None
    # FastReID's KEY, VALUE, KEY, VALUE, ... for all stages that train
    cfg.OPTS = []
    # What trains: a FastReID config file, and KEY, VALUE, ... for it
    #   SOURCE: DINO on the source data: theta_s
    #   TARGET: training on the target that starts from theta_s: theta_t. A TransReID config, or a
    #           DINO config for a target without labels
    #   PRETRAIN: DINO on the selected images of the source data
    #   FINETUNE: training on the target that starts from PRETRAIN's teacher
    # and NUM_GPUS, where it has its own number of processes (0: NUM_GPUS of the pipeline): the
    # triplet loss and BNNeck of a small batch see the images of one process
    for stage in TRAINED:
        cfg[stage.upper()] = CfgNode({"CONFIG": "", "OPTS": [], "NUM_GPUS": 0})
    # As the options of tools/cfs_scores.py score
    sizes = {"BATCH_SIZE": BATCH_SIZE, "SHARD_SIZE": SHARD_SIZE}
    cfg.SCORE = CfgNode({**sizes, "PRECISION": "fp32", "MAX_BAD": MOST})
    cfg.EVALUATE = CfgNode()
    # Test sets; () = those of TARGET's and FINETUNE's configs
    cfg.EVALUATE.TESTS = ()
    # Evaluate with re-ranking as well
    cfg.EVALUATE.RERANK = False
    # FastReID's KEY, VALUE, ... for the evaluations
    cfg.EVALUATE.OPTS = []
    return cfg


def load_config(path: str | Path, options: Sequence[Any] = ()) -> CfgNode:
    """Read a pipeline's file, then KEY VALUE pairs, and check what can be checked without data.

    Raises:
        UserError: no such file or key, a value that cannot be; what to write.
    """
    cfg = default_config()
    cfg.merge_from_file(str(path))
    own, of_stages = _split(options)
    cfg.merge_from_list(own)
    for name, key, value in of_stages:
        for stage in map(str.upper, TRAINED) if name == ALL else [name]:
            cfg[stage].OPTS = [*cfg[stage].OPTS, key, value]
    _check(cfg)
    cfg.freeze()
    return cfg


def _split(options: Sequence[Any]) -> tuple[list[Any], list[tuple[str, str, Any]]]:
    """Options of the pipeline itself; (stage, FastReID's key, value) of its stages."""
    if len(options) % 2:
        raise UserError(
            f"options are pairs of KEY and VALUE, but there are {len(options)} words: "
            f"{' '.join(map(str, options))}"
        )
    defaults = default_config()
    own: list[Any] = []
    of_stages = []
    for key, value in zip(options[::2], options[1::2], strict=True):
        name, _, rest = str(key).partition(".")
        node = defaults.get(name)
        takes_more = name == ALL or (isinstance(node, CfgNode) and "OPTS" in node)
        if takes_more and rest and (name == ALL or rest not in node):
            of_stages.append((name, rest, value))
        elif rest and node is None:
            raise UserError(
                f"there is no key {key} of a pipeline; write ALL.{key} for the configs of all "
                f"stages, or {', '.join(f'{stage.upper()}.{key}' for stage in TRAINED)}"
            )
        else:
            own += [key, value]
    return own, of_stages


def _check(cfg: CfgNode) -> None:
    """Raise UserError for the first key that cannot have its value."""
    if not cfg.OUTPUT_DIR:
        raise UserError("OUTPUT_DIR is empty; name the folder of all that the pipeline makes")
    if (cfg.KEEP is None) == (cfg.KEEP_NUM is None):
        raise UserError(
            f"KEEP is {cfg.KEEP} and KEEP_NUM {cfg.KEEP_NUM}; set one of them and the other to "
            "None: KEEP 0.5 selects the best half, KEEP_NUM 2508146 that many images"
        )
    check_keep(cfg.KEEP, cfg.KEEP_NUM)
    if cfg.NUM_GPUS < 1:
        raise UserError(f"NUM_GPUS is {cfg.NUM_GPUS}; write 1 or more, 1 also for a CPU")
    for stage in map(str.upper, TRAINED):
        if not cfg[stage].CONFIG:
            raise UserError(f"{stage}.CONFIG is empty; name a FastReID config file")
        if cfg[stage].NUM_GPUS < 0:
            raise UserError(
                f"{stage}.NUM_GPUS is {cfg[stage].NUM_GPUS}; write 1 or more, 0 for the pipeline's"
            )
    nodes = {"": cfg, **{f"{name}.": cfg[name] for name in ("EVALUATE", *map(str.upper, TRAINED))}}
    for prefix, node in nodes.items():
        if len(node.OPTS) % 2:
            raise UserError(
                f"{prefix}OPTS has {len(node.OPTS)} entries; write KEY, VALUE, KEY, VALUE, ..., as "
                "in [SOLVER.MAX_EPOCH, 20]"
            )
    score = cfg.SCORE
    ScoringOptions(score.BATCH_SIZE, score.SHARD_SIZE, precision=score.PRECISION)
    if not 0 <= score.MAX_BAD <= 1:
        raise UserError(
            f"SCORE.MAX_BAD is {score.MAX_BAD}; write the share of images that may be left out, 0"
            " to 1"
        )


def stage_gpus(cfg: CfgNode, stage: str) -> int:
    """Processes of a training stage."""
    return cfg[stage.upper()].NUM_GPUS or cfg.NUM_GPUS


def stage_options(cfg: CfgNode, stage: str) -> list[str]:
    """KEY VALUE pairs for a training stage as words of a command line: SEED, OPTS, its own OPTS."""
    return [str(word) for word in ("SEED", cfg.SEED, *cfg.OPTS, *cfg[stage.upper()].OPTS)]
