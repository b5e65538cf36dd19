"""How MODEL.COMPILE compiles: torch's compiler with a way back, its cache, and CUDA graphs.

MODEL.COMPILE_MODE reduce-overhead records the kernels of each part as a CUDA graph and replays it:
the host then starts one graph instead of many kernels. Inputs and outputs live in memory that the
next step writes to again, so that a step begins anew with each pass through the model, which must
be the only one of its step.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable
from typing import Any

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from ..config.keys import COMPILE_MODES, CUDA_GRAPHS

logger = logging.getLogger(__name__)

DEFAULT = COMPILE_MODES[0]
INDUCTOR = "inductor"  # torch's own compiler
COUNTER = "MODEL.COMPILE"  # of torch._dynamo's counters: graphs that run eagerly


def wants_cuda_graphs(cfg: CfgNode) -> bool:
    """Whether a config asks for CUDA graphs; rules about them then count."""
    return bool(cfg.MODEL.get("COMPILE")) and cfg.MODEL.get("COMPILE_MODE") == CUDA_GRAPHS


def mode_on(device_type: str, mode: str) -> str:
    """The mode that a device can do: CUDA graphs need CUDA."""
    if mode != CUDA_GRAPHS or device_type == "cuda":
        return mode
    text = "MODEL.COMPILE_MODE %s needs a GPU: on %s it is %s"
    logger.info(text, mode, device_type, DEFAULT)
    return DEFAULT


@functools.cache
def backend_of(name: str, mode: str = DEFAULT) -> Any:
    """Backend for ``nn.Module.compile``, always the same one: blocks share graphs through it.

    Args:
        name: :data:`INDUCTOR`, or another backend of torch, which has no modes.
        mode: MODEL.COMPILE_MODE.
    """
    if name != INDUCTOR:
        return name
    options = torch._inductor.list_mode_options(mode)

    def compiled_or_eager(graph: torch.fx.GraphModule, inputs: Any, **_: Any) -> Any:
        from torch._inductor.compile_fx import compile_fx  # late: seconds

        try:
            return compile_fx(graph, inputs, config_patches=options)
        except (torch._dynamo.exc.RestartAnalysis, torch._dynamo.exc.SkipFrame):
            raise  # no failure: how torch goes back to an earlier point
        except Exception as error:
            _give_up(graph, error)
            return graph.forward

    return compiled_or_eager


def _give_up(graph: torch.fx.GraphModule, error: Exception) -> None:
    torch._dynamo.utils.counters[COUNTER]["eager"] += 1
    operators = sum(node.op.startswith("call") for node in graph.graph.nodes)
    lines = str(error).strip().splitlines() or [""]
    logger.warning(
        "MODEL.COMPILE: torch cannot compile a graph of %d operators (%s: %s); it runs eagerly, as "
        "slowly as without the key",
        operators,
        type(error).__name__,
        lines[0],
    )


def keep_between_runs() -> str:
    """Let torch keep compiled kernels for later runs, as it does from 2.6 on; returns the folder.

    TORCHINDUCTOR_CACHE_DIR is another one; TORCHINDUCTOR_FX_GRAPH_CACHE 0 keeps none.
    """
    import torch._inductor.codecache as cache  # late: seconds

    if "TORCHINDUCTOR_FX_GRAPH_CACHE" not in os.environ:
        cache.config.fx_graph_cache = True
    return cache.cache_dir() if hasattr(cache, "cache_dir") else "torch's cache"


def separate_steps(model: nn.Module) -> None:
    """Begin a new step of CUDA graphs with each pass; features outlive the pass after them."""

    def begin(*_: Any) -> None:
        torch.compiler.cudagraph_mark_step_begin()

    def copied(module: nn.Module, _: Any, output: Any) -> Any:
        return output.clone() if isinstance(output, Tensor) and not module.training else output

    model.register_forward_pre_hook(begin)
    model.register_forward_hook(copied)


def first_lines(reasons: Iterable[str]) -> str:
    """The first lines of reasons that torch gives, each once."""
    return "; ".join(dict.fromkeys(reason.strip().partition("\n")[0] for reason in reasons))
