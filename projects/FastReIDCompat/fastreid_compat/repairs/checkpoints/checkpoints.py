"""What checkpoints hold: weights that must fit the model, optimizer state, and the best result."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from fastreid.utils import checkpoint
from reid_common.errors import UserError

from ...registry import Original, fix, replaces, source_has
from .backbone_weights import judge
from .load_report import LoadReport

Checkpointer = checkpoint.Checkpointer
PeriodicCheckpointer = checkpoint.PeriodicCheckpointer

# A project that knows weights of other formats for its models adds a function here: it gets the
# model, the state dict of a file and the file's name, and returns what is to be loaded into the
# model, or None if the model is not one of its own.
WEIGHT_ADAPTERS: list[Callable[[torch.nn.Module, dict[str, Any], str], dict[str, Any] | None]] = []

BACKBONE = "backbone."

# Entries of an optimizer's state that have the shape of the parameter.
_LIKE_PARAMETER = ("exp_avg", "momentum_buffer", "square_avg", "sum")


@fix(
    where="utils/checkpoint.py:118,244",
    symptom="a checkpoint of another model loads nothing, silently: a random model is evaluated",
)
def checkpoint_fits_the_model() -> bool:
    """Raise UserError when half of the model's tensors, or 10% of its backbone, are not in it.

    Single tensors of another shape, as of a classifier for other identities, are logged and skipped
    as ever.
    """
    if not source_has(Checkpointer._load_model, "strict=False"):
        return False
    original_load, original_model = Checkpointer.load, Checkpointer._load_model

    def load(self: Any, path: str, checkpointables: list[str] | None = None) -> Any:
        if path and "://" not in path and not os.path.isfile(path):
            raise UserError(
                f"there is no checkpoint {path!r}. It comes from MODEL.WEIGHTS or, with --resume, "
                "from the file last_checkpoint in OUTPUT_DIR; give the path of a .pth file, or "
                "start without --resume"
            )
        self.path = path
        return original_load(self, path, checkpointables)

    def load_model(self: Any, content: dict[str, Any]) -> Any:
        path = getattr(self, "path", "checkpoint")
        for adapt in WEIGHT_ADAPTERS:
            adapted = adapt(self.model, content["model"], path)
            if adapted is not None:
                content["model"] = adapted
                return original_model(self, content)
        check_fit(self.model.state_dict(), content["model"], path)
        check_backbone(self.model, content["model"], path)
        return original_model(self, content)

    Checkpointer.load, Checkpointer._load_model = load, load_model
    return True


def check_fit(model: dict[str, Any], weights: dict[str, Any], path: str) -> None:
    """Compare two state dicts by name and shape.

    Args:
        model: state dict of the model.
        weights: state dict from a file, with or without the prefix ``module.`` of DDP.
        path: where it comes from, for the message.

    Raises:
        UserError: fewer than half of the model's tensors are in ``weights``.
    """
    if all(key.startswith("module.") for key in weights):
        weights = {key.removeprefix("module."): value for key, value in weights.items()}
    shapes = {key: tuple(getattr(value, "shape", ())) for key, value in weights.items()}
    wanted = {key: tuple(value.shape) for key, value in model.items()}
    matching = {key for key, shape in wanted.items() if shapes.get(key) == shape}
    if 2 * len(matching) >= len(wanted):
        return
    raise UserError(
        f"checkpoint {path} is of another model: of {len(wanted)} tensors in the model and "
        f"{len(shapes)} in the file only {len(matching)} agree in name and shape. The model has "
        f"{_examples(wanted, matching)}; the file has {_examples(shapes, matching)}. Use the "
        "config that the checkpoint was trained with (config.yaml beside it); the weights of a "
        "backbone alone go to MODEL.BACKBONE.PRETRAIN_PATH"
    )


def check_backbone(model: torch.nn.Module, weights: dict[str, Any], path: str) -> None:
    """Compare the backbone of a whole model with that of a file.

    Raises:
        UserError: less than 90% of it is in the file, or the file's has parts that it lacks, as
            that of a deeper network has.
    """
    state = model.state_dict().items()
    own = {key.removeprefix(BACKBONE): value for key, value in state if key.startswith(BACKBONE)}
    if not own:
        return
    plain = {str(key).removeprefix("module."): value for key, value in weights.items()}
    given = {k.removeprefix(BACKBONE): v for k, v in plain.items() if k.startswith(BACKBONE)}
    given = {key: value for key, value in given.items() if isinstance(value, torch.Tensor)}
    fitting = {k for k, v in given.items() if k in own and v.shape == own[k].shape}
    report = LoadReport(path, "a whole model", network=type(model.backbone).__name__)
    report.skipped = sorted(set(given) - fitting)
    report.missing = sorted(set(own) - fitting)
    judge(report, own, given, lacking_allowed=True)


def _examples(shapes: dict[str, tuple], known: set[str]) -> str:
    others = [f"{key} {list(shape)}" for key, shape in shapes.items() if key not in known]
    return ", ".join(others[:3]) or "nothing else"


@fix(
    where="utils/checkpoint.py:133",
    symptom="--resume with other parameter groups or identities fails in the first step, or before",
)
@replaces(Checkpointer, "load")
def optimizer_state_fits(
    original: Original, self: Any, path: str, checkpointables: list[str] | None = None
) -> Any:
    """Say what to do when the optimizer's state in a checkpoint is of other parameters."""
    try:
        extra = original(self, path, checkpointables)
    except ValueError as error:
        if "loaded state dict" not in str(error):
            raise
        raise _other_optimizer(path, str(error)) from error
    for name in self.checkpointables if checkpointables is None else checkpointables:
        if isinstance(self.checkpointables[name], torch.optim.Optimizer):
            _check_state(self.checkpointables[name], path)
    return extra


def _check_state(optimizer: torch.optim.Optimizer, path: str) -> None:
    for group in optimizer.param_groups:
        for param in group["params"]:
            state = optimizer.state.get(param, {})
            for name in _LIKE_PARAMETER:
                value = state.get(name)
                if isinstance(value, torch.Tensor) and value.shape != param.shape:
                    sizes = f"{name} is {list(value.shape)}, the parameters {list(param.shape)}"
                    raise _other_optimizer(path, sizes)


def _other_optimizer(path: str, reason: str) -> UserError:
    return UserError(
        f"the optimizer state in {path} is of other parameters ({reason}). Resume with the config "
        "of the interrupted run (model, data, SOLVER.OPT, learning rates, weight decay; flat "
        "buffers or not), or start anew from its weights: MODEL.WEIGHTS without --resume"
    )


@fix(
    where="utils/checkpoint.py:317,331",
    symptom="after --resume the first evaluation overwrites model_best.pth, better or not",
)
def best_metric_survives_resume() -> bool:
    """Store the best result in every checkpoint and take it up again on resume."""
    if not source_has(PeriodicCheckpointer.step, 'additional_state["metric"] > self.best_metric'):
        return False
    original_step = PeriodicCheckpointer.step
    original_resume = Checkpointer.resume_or_load

    def step(self: Any, epoch: int, **kwargs: Any) -> None:
        resumed = getattr(self.checkpointer, "resumed_best_metric", -1)
        self.best_metric = max(self.best_metric, resumed)
        best = max(self.best_metric, kwargs.get("metric", -1))
        original_step(self, epoch, **kwargs, best_metric=best)

    def resume_or_load(self: Any, path: str, *, resume: bool = True) -> Any:
        content = original_resume(self, path, resume=resume)
        if resume and self.has_checkpoint():
            # Files of a FastReID without this fix: the result of that epoch is the best guess.
            best = content.get("best_metric", content.get("metric", -1))
            self.resumed_best_metric = float(best)
        return content

    PeriodicCheckpointer.step = step
    Checkpointer.resume_or_load = resume_or_load
    return True
