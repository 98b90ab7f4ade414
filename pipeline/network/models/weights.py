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
from pipeline.network.models.weight_names import below, by_name, by_order, only_prefix
from pipeline.network.models.weight_places import found


def load_weights(
    model: nn.Module,
    name: str,
    weights: str,
    unused: tuple[str, ...] = (),
    *,
    in_order: bool = False,
    key: str | None = None,
) -> None:
    """Copy a file's weights into the model, by their names.

    weights: the file's path or package:MODULE/PATH. unused: prefixes of keys to ignore where the model does
    not have them. in_order: whether the keys are others, and in the model's order. key: where in the file the
    weights are (see `found`). Raises ConfigError for a file that cannot be read, that has several weights of
    which key names none, or that does not fit the model.
    """
    owner, wanted = f"model.weights: {weights}, for {name},", model.state_dict()
    place = found(f"model.weights: {weights}", _read(weights), key)
    read = _plain(weights, place.weights)
    prefix = place.prefix
    if prefix is None:
        prefix = "" if in_order else only_prefix(owner, read, wanted, place.path)
    read = below(owner, read, wanted, prefix)
    model.load_state_dict(by_order(owner, read, wanted) if in_order else by_name(owner, read, wanted, unused))


def _read(weights: str) -> Any:
    """What a file holds. No code that it may contain is run."""
    try:
        path = _weights_file(weights)
        safe = path.suffix.lower() == ".safetensors"
        with opened(path) as file:
            if not safe:
                require_readable(file)
        if safe:
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"model.weights: {weights} must hold only tensors (save model.state_dict(), not the model)"
        ) from error
    except Exception as error:  # the readers of these formats raise errors of many kinds
        raise ConfigError(f"model.weights: cannot read {weights} ({first_line(error)})") from error


def _plain(weights: str, state: Mapping[Any, Tensor]) -> dict[str, Tensor]:
    """Weights by name. Raises ConfigError for names that are no text, and tensors of other kinds."""
    for key, value in state.items():
        require(isinstance(key, str), f"model.weights: {weights} must have text as keys (one is {key!r:.60})")
        plain = value.layout is torch.strided and not (
            value.is_meta or value.is_nested or value.is_quantized or value.is_complex()
        )
        require(plain, f"model.weights: {weights} must hold plain tensors ({key!r:.60} is another kind)")
    return dict(state)


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
    if file.suffix.lower() not in (".pt", ".pth", ".safetensors"):
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
