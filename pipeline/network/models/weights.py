"""Weights from a file, or from a file of an installed package. Shell."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.domain.checks import ConfigError, first_line, require
from pipeline.host.data_file import opened
from pipeline.network.models.pickled import require_readable


def load_weights(model: nn.Module, name: str, weights: str, unused: tuple[str, ...] = ()) -> None:
    """Copy a file's weights into the model: by key, else by order where the number and the shapes agree.

    `weights` is the file's path or package:MODULE/PATH; `unused` are prefixes of keys to ignore where the
    model does not have them. Raises ConfigError for a file that cannot be read or does not fit the model.
    """
    wanted = model.state_dict()
    read = _read(weights)
    state = {key: value for key, value in read.items() if key in wanted or not key.startswith(unused)}
    if state.keys() != wanted.keys() and _shapes(state) == _shapes(wanted):
        state = dict(zip(wanted, state.values(), strict=True))
    missing = [key for key in wanted if key not in state]
    unknown = [key for key in state if key not in wanted]
    misshapen = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    require(
        not (missing or unknown or misshapen),
        f"model.weights: {weights} does not fit {name} (missing: {len(missing)}, unknown: "
        f"{len(unknown)}, of other shape: {len(misshapen)}; first: {[*missing, *unknown, *misshapen][:1]})",
    )
    model.load_state_dict(state)


def _shapes(state: Mapping[str, Tensor]) -> list[torch.Size]:
    return [value.shape for value in state.values()]


def _read(weights: str) -> dict[str, Tensor]:
    """Weights by key. No code that the file may contain is run."""
    try:
        path = _weights_file(weights)
        with opened(path) as file:
            if path.suffix != ".safetensors":
                require_readable(file)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"model.weights: {weights} must hold only tensors (save model.state_dict(), not the model)"
        ) from error
    except Exception as error:  # the readers of these formats raise errors of many kinds
        raise ConfigError(f"model.weights: cannot read {weights} ({first_line(error)})") from error
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    good = isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values())
    require(good, f"model.weights: {weights} must hold a state_dict (it holds a {type(state).__name__})")
    for key in state:
        require(isinstance(key, str), f"model.weights: {weights} must have text as keys (one is {key!r:.60})")
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
