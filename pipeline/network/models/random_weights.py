"""Random weights that respond to the input, so that a wrong split changes the answer. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.domain.checks import require
from pipeline.network.models.answers import fitting_input, require_finite

_CALIBRATION_BATCHES = 2
CALIBRATION_BATCH_SIZE = 8


def make_responsive(model: nn.Module, name: str, input_size: int) -> None:
    """Change freshly initialised weights so that the model's answers are at about unit scale.

    Fresh weights are degenerate: batch norm divides by a variance that was never measured (outputs near
    1e-9), and heads or residual branches that start at zero contribute nothing. Draws from torch's global
    random generator. Raises ConfigError for a model that does not take (1, 3, input_size, input_size), has a
    layer without weights, or whose answers are not finite.
    """
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, nn.Parameter):
            continue
        require(weight.numel() > 0, f"model.options: {name} has a layer without weights")
        if not weight.any():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel()))
            else:
                nn.init.ones_(weight)
    with fitting_input(name, input_size), _one_thread():
        x, answer = _calibrate(model, (CALIBRATION_BATCH_SIZE, 3, input_size, input_size))
    require_finite(answer, model, x, name)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread, so that the statistics, to the last bit, do not depend on the process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _calibrate(model: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Any]:
    """Set the statistics of batch norm from a few random batches; returns the last and the answer to it."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average over the batches
        norm.train()
    with torch.no_grad():
        for _ in range(_CALIBRATION_BATCHES if norms else 1):
            x = torch.randn(shape)
            answer = model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return x, answer
