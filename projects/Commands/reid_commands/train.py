#!/usr/bin/env python3
"""Train or evaluate: FastReID's command line for all projects of this repository.

python tools/train_net.py --config-file projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml
"""

from __future__ import annotations

import argparse
import json
import logging
import numbers
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
from fasteval import evaluate_model
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer, default_argument_parser, default_setup, launch
from fastreid.utils import comm
from fastreid.utils.checkpoint import Checkpointer
from fastreid.utils.logger import setup_logger
from reid_common.files import replacing
from reid_core.config import load_config, trainer_class
from reid_core.run.command_line import logged_packages, show_user_errors
from reid_core.run.preflight import preflight
from reid_core.run.validation import check_output_dir
from transreid import resolve_side_information

logger = logging.getLogger("fastreid.train_net")

EVALUATION = "evaluation.json"


def merged_config(args: argparse.Namespace) -> CfgNode:
    """Config of a command line: defaults, the projects' keys, file, KEY VALUE pairs."""
    return load_config(args.config_file, args.opts)


def setup(args: argparse.Namespace) -> CfgNode:
    """Config of a command line, checked, resolved and frozen; log and seed set up."""
    cfg = merged_config(args)
    check_output_dir(cfg.OUTPUT_DIR)
    for package in logged_packages():
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name=package)
    preflight(cfg, args.eval_only)
    resolve_side_information(cfg, from_weights=args.eval_only)
    cfg.freeze()
    default_setup(cfg, args)
    return cfg


@show_user_errors
def main(args: argparse.Namespace) -> Any:
    """Run in every process: evaluate (``--eval-only``) or train, and return the results."""
    cfg = setup(args)
    if args.eval_only:
        return evaluate(cfg)
    trainer = trainer_class(cfg)(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def model_with(cfg: CfgNode, weights: str) -> torch.nn.Module:
    """The model of a config with the weights of a file, or as initialised for weights ""."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    model = DefaultTrainer.build_model(cfg)
    if weights:
        Checkpointer(model).load(weights)
    return model


def evaluate(cfg: CfgNode) -> Any:
    """Evaluate MODEL.WEIGHTS, or a model as initialised if there are none, on DATASETS.TESTS.

    The figures of each data set are written to OUTPUT_DIR/evaluation.json as well.
    """
    if not cfg.MODEL.WEIGHTS:
        logger.warning("MODEL.WEIGHTS is empty: this evaluates a model with random weights")
    results = evaluate_model(cfg, model_with(cfg, cfg.MODEL.WEIGHTS))
    if comm.is_main_process() and results:
        names = {*cfg.DATASETS.TESTS}  # FastReID gives the figures of a single set as they are
        sets = {cfg.DATASETS.TESTS[0]: results} if len(names) == 1 else results
        with replacing(Path(cfg.OUTPUT_DIR) / EVALUATION) as temporary:
            temporary.write_text(json.dumps({k: _figures(v) for k, v in sets.items()}, indent=2))
    return results


def _figures(results: Mapping[str, Any]) -> dict[str, float]:
    """What of an evaluation's results is a number."""
    return {k: float(v) for k, v in results.items() if isinstance(v, numbers.Real)}


@show_user_errors
def run(args: argparse.Namespace) -> Any:
    """Start one process per GPU (or gloo process on CPUs) and run :func:`main` in each."""
    if merged_config(args).MODEL.DEVICE == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # also for the processes: gloo, no copies to GPUs
    return launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


if __name__ == "__main__":
    arguments = default_argument_parser().parse_args()
    print("Command line:", " ".join(sys.argv))
    run(arguments)
