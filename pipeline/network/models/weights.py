"""Weights from a file, or from a file of an installed package. Shell."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.domain.checks import ConfigError, first_line, require
from pipeline.host.data_file import opened
from pipeline.network.models.pickled import require_readable
from pipeline.network.models.weight_names import by_name, by_order

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which checkpoints of training programs have a model's weights."""


def load_weights(
    model: nn.Module, name: str, weights: str, unused: tuple[str, ...] = (), *, in_order: bool = False
) -> None:
    """Copy a file's weights into the model, by their names.

    weights: the file's path or package:MODULE/PATH. unused: prefixes of keys to ignore where the model does
    not have them. in_order: whether the keys are others, and in the model's order. Raises ConfigError for a
    file that cannot be read or does not fit the model.
    """
    read, wanted, owner = _read(weights), model.state_dict(), f"model.weights: {weights}, for {name},"
    model.load_state_dict(by_order(owner, read, wanted) if in_order else by_name(owner, read, wanted, unused))


def _read(weights: str) -> dict[str, Tensor]:
    """Weights by key. No code that the file may contain is run."""
    try:
        path = _weights_file(weights)
        with opened(path) as file:
            if path.suffix != ".safetensors":
                require_readable(file)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"model.weights: {weights} must hold only tensors (save model.state_dict(), not the model)"
        ) from error
    except Exception as error:  # the readers of these formats raise errors of many kinds
        raise ConfigError(f"model.weights: cannot read {weights} ({first_line(error)})") from error
    state = _unwrapped(weights, state)
    good = isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values())
    require(good, f"model.weights: {weights} must hold a state_dict (it holds a {type(state).__name__})")
    for key, value in state.items():
        require(isinstance(key, str), f"model.weights: {weights} must have text as keys (one is {key!r:.60})")
        plain = value.layout is torch.strided and not (
            value.is_meta or value.is_nested or value.is_quantized or value.is_complex()
        )
        require(plain, f"model.weights: {weights} must hold plain tensors ({key!r:.60} is another kind)")
    return dict(state)


def _unwrapped(weights: str, state: Any) -> Any:
    """The innermost mapping under one of WRAPPERS. Raises ConfigError where two of them hold mappings."""
    while isinstance(state, Mapping):
        found = [key for key in WRAPPERS if isinstance(state.get(key), Mapping)]
        require(len(found) < 2, f"model.weights: {weights} has weights under each of {', '.join(found)}")
        if not found:
            break
        state = state[found[0]]
    return state


def _weights_file(weights: str) -> Path:
    kind, _, rest = weights.partition(":")
    if kind == "package":
        module, _, path = rest.partition("/")
        folder = _folder_of(module)
        file = (folder / path).resolve()
        if not file.is_relative_to(folder.resolve()):
            raise ValueError(f"it lies outside the package {module}")
        return file
    file = Path(weights).expanduser()
    if file.suffix not in (".pt", ".pth", ".safetensors"):
        raise ValueError(
            "expected random, pretrained, package:MODULE/PATH or a .pt, .pth or .safetensors file"
        )
    return file


def _folder_of(module: str) -> Path:
    """The folder of an installed package, which is not imported: that would run its code."""
    places: Sequence[str] | None = None
    for depth in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:depth])
        found = PathFinder.find_spec(name, places)
        if found is None or not found.submodule_search_locations:
            raise ValueError(f"no package named {name} is installed")
        places = list(found.submodule_search_locations)
    assert places
    return Path(places[0])
