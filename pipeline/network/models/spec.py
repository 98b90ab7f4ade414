"""A model as the config specifies it: library, name, weights and input. Shell: `build` may read files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pipeline.domain.checks import is_finite_number, require, require_seed, require_whole
from pipeline.network.models import libraries
from pipeline.network.models.answers import finite_answer, fitting_input
from pipeline.network.models.random_weights import make_responsive
from pipeline.network.models.weights import load_weights

MOST_PIXELS = 4096
"""Largest height and width of an input, and of what an option calls a size; most models have 224."""
MOST_OPTION = 100_000
"""Largest other number among a model's options, such as num_classes: ImageNet's full list has 21,841."""
CHANNEL_OPTIONS = ("in_chans", "in_channels", "input_channels", "num_channels")
"""Options that say how many channels a model's input has, which is a picture's."""


@dataclass(frozen=True)
class ModelSpec:
    """A classification model: where it comes from, its weights, and its input.

    The input has shape (1, 3, input_size, input_size): pixels on 0..1, minus `mean`, divided by `std`, by
    channel. Raises ConfigError, with the key, for a value that is not valid.
    """

    name: str
    """The model's name in its library, such as mobilenet_v2."""
    library: str
    """torchvision or timm."""
    weights: str = "random"
    """random; pretrained (downloaded by the library); a .pt, .pth or .safetensors file; or
    package:MODULE/PATH, a file of an installed package."""
    weights_by_order: bool = False
    """Whether a file's keys are others than the model's, and in its order. Else names decide."""
    weights_key: str | None = None
    """Where in a file of several weights the model's are: keys and a prefix of names, such as
    `state_dict_ema`; null: they are the only ones."""
    seed: int = 0
    """Seed of random weights."""
    input_size: int = 224
    """Height and width of the input in pixels."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """One value per channel, for pixels on 0..1; the default is ImageNet's."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """One value per channel, for pixels on 0..1; the default is ImageNet's."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Keyword arguments of the model's constructor, such as image_size of a torchvision ViT."""

    def __post_init__(self) -> None:
        _require_text("name", self.name)
        _require_text("weights", self.weights)
        require(
            self.library in libraries.LIBRARIES,
            f"model.library: must be {' or '.join(libraries.LIBRARIES)} (library: {self.library!r})",
        )
        ordered = self.weights_by_order
        require(isinstance(ordered, bool), f"model.weights_by_order: must be true or false ({ordered!r:.60})")
        if self.weights_key is not None:
            _require_text("weights_key", self.weights_key)
            require(
                self.weights not in ("random", "pretrained"),
                f"model.weights_key: names a part of a file, and model.weights is {self.weights}",
            )
        require_seed("model", self.seed)
        require_whole("model", "input_size", self.input_size, least=1)
        object.__setattr__(self, "mean", _channels("mean", self.mean))
        object.__setattr__(self, "std", _channels("std", self.std))
        require(min(self.std) > 0, f"model.std: must be above 0 (std: {self.std})")
        require(
            isinstance(self.options, Mapping),
            f"model.options: must map a constructor's arguments to values (options: {self.options!r})",
        )
        for key in self.options:
            require(
                key not in libraries.WEIGHT_OPTIONS,
                f"model.options.{key}: says where weights come from; use model.weights",
            )
            channels = self.options[key] if key in CHANNEL_OPTIONS else 3
            require(
                channels == 3, f"model.options.{key}: must be 3, red, green and blue (it is {channels!r:.60})"
            )
        object.__setattr__(self, "options", dict(self.options))
        _require_small("input_size", self.input_size)
        _require_small("options", self.options)

    def build(self) -> nn.Module:
        """Build the model in eval mode, without gradients.

        Equal specs give equal models; the global random generator is left unchanged. Raises ConfigError
        for a model that the library does not have or cannot build, for weights that cannot be loaded, and
        for those that give answers which are not finite.
        """
        libraries.require_known(self.library, self.name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.weights == "pretrained":
                model = libraries.pretrained(self.library, self.name, self.options)
            else:
                model = libraries.untrained(self.library, self.name, self.options)
                if self.weights == "random":
                    make_responsive(model, self.name, self.input_size)
                else:
                    unused = libraries.auxiliary_heads(self.library, self.name)
                    load_weights(
                        model,
                        self.name,
                        self.weights,
                        unused,
                        in_order=self.weights_by_order,
                        key=self.weights_key,
                    )
            model = model.eval().requires_grad_(False)
            if self.weights != "random":  # which are checked when they are calibrated
                with fitting_input(self.name, self.input_size):
                    finite_answer(model, torch.randn(1, 3, self.input_size, self.input_size), self.name)
        return model


def _require_text(key: str, value: Any) -> None:
    require(isinstance(value, str) and value != "", f"model.{key}: must be text ({key}: {value!r})")


def _require_small(key: str, value: Any) -> None:
    """Raise ConfigError, with the key, for a number that asks for gigabytes, also in lists and mappings."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _require_small(f"{key}.{name}", inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _require_small(key, inner)
    elif isinstance(value, int | float):
        most = MOST_PIXELS if key.endswith("_size") else MOST_OPTION
        require(abs(value) <= most, f"model.{key}: must be at most {most} (it is {value!r})")


def _channels(key: str, value: Any) -> tuple[float, ...]:
    good = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3
    require(
        good and all(map(is_finite_number, value)),
        f"model.{key}: must be three numbers, one per channel ({key}: {value!r:.60})",
    )
    return tuple(float(item) for item in value)
