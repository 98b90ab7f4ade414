"""A model's answers, refused where they are not finite: no comparison with them means anything. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.domain.checks import ConfigError, first_line
from pipeline.network.subnormals import subnormals_as_zero


def finite_answer(model: nn.Module, x: Tensor, name: str) -> Tensor:
    """The model's answer to an input, the first of several tensors. Raises as `require_finite` does."""
    with torch.inference_mode(), subnormals_as_zero():
        answer = model(x)
    require_finite(answer, model, x, name)
    first: Tensor = answer[0] if isinstance(answer, tuple | list) else answer
    return first


def require_finite(answer: Any, model: nn.Module, x: Tensor, name: str) -> None:
    """Raise ConfigError, naming the first layer at fault, unless the model's answer to x is finite."""
    if not is_finite(answer):
        raise ConfigError(
            f"model.weights: {name} gives answers that are not finite (NaN or infinity, first from "
            f"{_first_not_finite(model, x)}); check that the weights are this model's own and undamaged"
        )


def is_finite(answer: Any) -> bool:
    """Whether a tensor, or each tensor of a tuple or list, has neither NaN nor infinity."""
    tensors = answer if isinstance(answer, tuple | list) else (answer,)
    return all(bool(tensor.isfinite().all()) for tensor in tensors if isinstance(tensor, Tensor))


@contextmanager
def fitting_input(name: str, input_size: int) -> Iterator[None]:
    """Turn what a model raises for images of a size that it does not take into a ConfigError."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # the model's options may have made any of it wrong
        raise ConfigError(
            f"model.input_size: {name} cannot take {input_size} pixels ({first_line(error)})"
        ) from error


def _first_not_finite(model: nn.Module, x: Tensor) -> str:
    """Name and type of the innermost module that is the first to turn finite tensors into others."""
    found: list[str] = []

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        if not found and is_finite(inputs) and not is_finite(output):
            found.append(f"{names[module] or 'the model itself'} ({type(module).__name__})")

    names = {module: path for path, module in model.named_modules()}
    hooks = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return next(iter(found), "its input")
