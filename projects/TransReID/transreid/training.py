"""One run: from a config to a trained model, or to the metrics of one.

FastReID's models, TransReID and DINO are trained here: a project registers the trainer of what
FastReID's own cannot train.
"""

from __future__ import annotations

import argparse
import logging
import numbers
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import reid_core  # noqa: F401  (first: repairs FastReID)
import torch
from fasteval import evaluate_model
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer, default_setup, launch
from fastreid.utils import comm
from fastreid.utils.checkpoint import Checkpointer
from fastreid.utils.logger import setup_logger
from reid_common.errors import UserError
from reid_common.files import write_json
from reid_core.config import load_config, trainer_class
from reid_core.run.command_line import logged_packages, show_user_errors
from reid_core.run.output_lock import only_run
from reid_core.run.preflight import preflight
from reid_core.run.reports import EVALUATION
from reid_core.side_information.resolve import resolve_side_information

from .weights.formats import side_information_of_weights

logger = logging.getLogger("fastreid.train_net")


def arguments(
    config_file: str, opts: Sequence[str], *, resume: bool = False, eval_only: bool = False
) -> argparse.Namespace:
    """What a command line says to :func:`setup` and :func:`train_or_evaluate`.

    ``opts`` are KEY VALUE pairs. ``resume`` continues from the last checkpoint in OUTPUT_DIR, if
    there is one; ``eval_only`` evaluates MODEL.WEIGHTS instead of training.
    """
    return argparse.Namespace(
        config_file=config_file, opts=list(opts), resume=resume, eval_only=eval_only
    )


def setup(args: argparse.Namespace) -> CfgNode:
    """Config of a command line, checked, resolved and frozen; log and seed set up."""
    cfg = load_config(args.config_file, args.opts)
    if not cfg.OUTPUT_DIR:
        raise UserError("OUTPUT_DIR: '' names no folder. Set it to the folder of the run.")
    for package in logged_packages():
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name=package)
    preflight(cfg, args.eval_only)
    resolve_side_information(cfg, side_information_of_weights(cfg) if args.eval_only else None)
    cfg.freeze()
    default_setup(cfg, args)
    return cfg


@show_user_errors
def train_or_evaluate(args: argparse.Namespace) -> Any:
    """Train, or evaluate with ``eval_only``, in every process; returns the results."""
    with only_run(load_config(args.config_file, args.opts).OUTPUT_DIR):
        return run_in_held_folder(args)


def run_in_held_folder(args: argparse.Namespace) -> Any:
    """As :func:`train_or_evaluate`, for a caller that holds OUTPUT_DIR (:func:`only_run`)."""
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

    The metrics of each data set are also written to OUTPUT_DIR/evaluation.json.
    """
    if not cfg.MODEL.WEIGHTS:
        logger.warning("MODEL.WEIGHTS is empty: this evaluates a model with random weights")
    results = evaluate_model(cfg, model_with(cfg, cfg.MODEL.WEIGHTS))
    if comm.is_main_process() and results:
        names = {*cfg.DATASETS.TESTS}  # FastReID gives the metrics of a single set as they are
        sets = {cfg.DATASETS.TESTS[0]: results} if len(names) == 1 else results
        metrics = {
            name: {k: float(v) for k, v in found.items() if isinstance(v, numbers.Real)}
            for name, found in sets.items()
        }
        write_json(Path(cfg.OUTPUT_DIR) / EVALUATION, metrics)
    return results


@show_user_errors
def launch_run(args: argparse.Namespace) -> Any:
    """Run :func:`train_or_evaluate` in one process per GPU, or as many gloo processes on CPUs.

    Args:
        args: of :func:`arguments`, with num_gpus, num_machines, machine_rank and dist_url.
    """
    if load_config(args.config_file, args.opts).MODEL.DEVICE == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # also for the processes: gloo, no copies to GPUs
    return launch(
        train_or_evaluate,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
