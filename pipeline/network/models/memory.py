"""Refuse a model that asks for more memory than a classifier needs, before it is taken. Shell: hooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.domain.checks import ConfigError
from pipeline.network.models import libraries
from pipeline.network.models.random_weights import CALIBRATION_BATCH_SIZE

if TYPE_CHECKING:
    from pipeline.network.models.spec import ModelSpec

MOST_PARAMETERS = 1_200_000_000
"""Most parameters and values of buffers, 4.8 GB: vit_giant_patch14_dinov2 has 1,136 million. 21 of the 1,451
classifiers of torchvision and timm are larger."""
MOST_MODULES = 10_000
"""Most modules, each within another: resnetrs420 has 2,541."""
MOST_RESULT_BYTES = 2_000_000_000
"""Largest result of one operator for the whole batch; eva_giant_patch14_560 with random weights: 1.3 GB."""


class TooLargeError(ConfigError):
    """A model that asks for too much."""


def require_moderate(spec: ModelSpec) -> None:
    """Raise TooLargeError for too many parts, or too large a result of an operator.

    The model is built and run on torch's meta device, where tensors have a shape but no values. A run that is
    not possible there is not judged. Raises ConfigError for a model that its library does not have or cannot
    build.
    """
    libraries.require_known(spec.library, spec.name)
    with torch.random.fork_rng(devices=[]), few_parts(spec.name):
        model = _without_values(spec).eval()
    batch_size = CALIBRATION_BATCH_SIZE if spec.weights == "random" else 1
    x = torch.empty(batch_size, 3, spec.input_size, spec.input_size, device="meta")
    try:
        with torch.no_grad(), _SmallResults(spec):
            model(x)
    except TooLargeError:
        raise
    except Exception:  # shows again, with values, when the model is built
        return


def _without_values(spec: ModelSpec) -> nn.Module:
    try:
        with torch.device("meta"):
            return libraries.untrained(spec.library, spec.name, spec.options)
    except TooLargeError:
        raise
    except Exception:  # a RegNet computes its widths by tensors, of which it needs the values
        return libraries.untrained(spec.library, spec.name, spec.options).to("meta")


@contextmanager
def few_parts(name: str) -> Iterator[None]:
    """Raises TooLargeError as soon as the models that this thread builds in the block have too many parts."""
    builder, values, modules = threading.get_ident(), 0, 0

    def count_values(_module: nn.Module, _name: str, value: Tensor | None) -> None:
        nonlocal values
        if threading.get_ident() == builder and value is not None:
            values += value.numel()
            _require(
                values <= MOST_PARAMETERS, "options", f"{name} has more than {MOST_PARAMETERS} parameters"
            )

    def count_module(_module: nn.Module, _name: str, _part: nn.Module | None) -> None:
        nonlocal modules
        if threading.get_ident() == builder:
            modules += 1
            _require(modules <= MOST_MODULES, "options", f"{name} has more than {MOST_MODULES} modules")

    with ExitStack() as hooks:
        for hook in (
            registration.register_module_parameter_registration_hook(count_values),
            registration.register_module_buffer_registration_hook(count_values),
            registration.register_module_module_registration_hook(count_module),
        ):
            hooks.callback(hook.remove)
        yield


class _SmallResults(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises TooLargeError for an operator with a large result."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.spec = spec

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if all(each.alias_info is None for each in func._schema.returns):  # a view takes no memory
            num_bytes = sum(each.nbytes for each in tree_leaves(result) if isinstance(each, Tensor))
            _require(
                num_bytes <= MOST_RESULT_BYTES,
                "input_size",
                f"{self.spec.name} at {self.spec.input_size} pixels has a layer of {num_bytes} bytes, "
                f"and at most {MOST_RESULT_BYTES} are allowed",
            )
        return result


def _require(condition: bool, key: str, message: str) -> None:
    if not condition:
        raise TooLargeError(f"model.{key}: {message}")
