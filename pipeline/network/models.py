"""A model's spec and how it is built: library, weights, input."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.resources
import math
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.domain.checks import ConfigError, require

# The fast path of attention fuses operators that stages run one by one: whole and split would differ by 1e-6.
torch.backends.mha.set_fastpath_enabled(False)


LIBRARIES = ("torchvision", "timm")
_AUXILIARY_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Heads of torchvision models that serve training only, by the prefix of their weights."""
_CALIBRATION_BATCHES = 2
_CALIBRATION_BATCH_SIZE = 8


@dataclass(frozen=True)
class ModelSpec:
    """A classification model: where it comes from, its weights, and the input it wants.

    Input is (1, 3, input_size, input_size), pixels on 0..1, less `mean`, divided by `std`, by channel.
    """

    name: str
    """As the library's registry calls it, such as mobilenet_v2."""
    library: str
    """torchvision or timm."""
    weights: str = "random"
    """random; pretrained (downloaded by the library); a .pt, .pth or .safetensors file; or
    package:MODULE/PATH, a file that an installed package carries."""
    seed: int = 0
    """Of random weights."""
    input_size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Keyword arguments of the model's constructor, such as image_size of a torchvision ViT."""

    def __post_init__(self) -> None:
        _require_text("name", self.name)
        _require_text("weights", self.weights)
        require(
            self.library in LIBRARIES,
            f"model.library: must be {' or '.join(LIBRARIES)} (library: {self.library!r})",
        )
        _require_integer("seed", self.seed, least=0)
        _require_integer("input_size", self.input_size, least=1)
        object.__setattr__(self, "mean", _channels("mean", self.mean))
        object.__setattr__(self, "std", _channels("std", self.std))
        require(min(self.std) > 0, f"model.std: must be above 0 (std: {self.std})")
        require(
            isinstance(self.options, Mapping),
            f"model.options: must map a constructor's arguments to values (options: {self.options!r})",
        )
        object.__setattr__(self, "options", dict(self.options))

    def build(self) -> nn.Module:
        """The model in eval mode, without gradients: the same for the same spec, global RNG untouched."""
        _require_known(self)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.weights == "pretrained":
                model = _pretrained(self)
            else:
                model = _construct(self)
                if self.weights == "random":
                    _enliven(model, self)
                else:
                    _load(model, self)
        return model.eval().requires_grad_(False)


def _require_text(key: str, value: Any) -> None:
    require(isinstance(value, str) and value != "", f"model.{key}: must be text ({key}: {value!r})")


def _require_integer(key: str, value: Any, *, least: int) -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(good, f"model.{key}: must be an integer >= {least} ({key}: {value!r})")


def _channels(key: str, value: Any) -> tuple[float, ...]:
    good = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3
    good = good and all(isinstance(item, int | float) and math.isfinite(item) for item in value)
    require(good, f"model.{key}: must be three numbers, one a channel ({key}: {value!r})")
    return tuple(float(item) for item in value)


def _require_known(spec: ModelSpec) -> None:
    if spec.library == "timm":
        known, names = _timm().is_model(spec.name), _timm().list_models
    else:
        models = torchvision_models()
        names = functools.partial(models.list_models, module=models)
        known = spec.name in names()
    if not known:
        close = difflib.get_close_matches(spec.name, names())
        hint = f"close: {', '.join(close)}" if close else f"see the models of {spec.library}"
        raise ConfigError(f"model.name: {spec.library} has no classification model {spec.name!r} ({hint})")


@functools.cache
def torchvision_models() -> ModuleType:
    """torchvision.models, also where torchvision's compiled operators do not fit the torch installed.

    The registry's wheel is built for CUDA torch: beside a CPU torch its import fails, for want of the
    schemas of two operators that no classifier calls. We declare them; a build that fits is left alone.
    """
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", signature)
    return importlib.import_module("torchvision.models")


@functools.cache
def _timm() -> ModuleType:
    torchvision_models()  # timm imports torchvision
    return importlib.import_module("timm")


def _construct(spec: ModelSpec) -> nn.Module:
    """The model as its library initialises it, without auxiliary heads."""
    options = dict(spec.options)
    if spec.library == "torchvision" and spec.name in _AUXILIARY_HEADS:
        options = {"aux_logits": False, "init_weights": False} | options  # their own init takes half a minute
    return _call_constructor(spec, _constructor(spec), options)


def _pretrained(spec: ModelSpec) -> nn.Module:
    """The model with its library's default weights, downloaded or from the library's cache."""
    choice: dict[str, Any] = {"pretrained": True} if spec.library == "timm" else {"weights": "DEFAULT"}
    try:
        return _call_constructor(spec, _constructor(spec), {**spec.options, **choice})
    except ConfigError:
        raise
    except Exception as error:  # libraries, hubs and sockets each raise their own
        raise ConfigError(
            f"model.weights: cannot get pretrained weights of {spec.name} from {spec.library} "
            f"({_reason(error)}); without internet use model.weights=random or a file"
        ) from error


def _constructor(spec: ModelSpec) -> Callable[..., nn.Module]:
    library = _timm() if spec.library == "timm" else torchvision_models()
    create = library.create_model if spec.library == "timm" else library.get_model
    return functools.partial(create, spec.name)


def _call_constructor(
    spec: ModelSpec, create: Callable[..., nn.Module], options: Mapping[str, Any]
) -> nn.Module:
    try:
        return create(**options)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"model.options: {spec.name} cannot be built ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _load(model: nn.Module, spec: ModelSpec) -> None:
    """Copy a file's weights into the model: by key, else by order where count and shapes agree."""
    heads = _AUXILIARY_HEADS.get(spec.name, ()) if spec.library == "torchvision" else ()
    wanted = model.state_dict()
    read = _read(spec.weights)
    state = {key: value for key, value in read.items() if key in wanted or not key.startswith(heads)}
    if state.keys() != wanted.keys() and _shapes(state) == _shapes(wanted):
        state = dict(zip(wanted, state.values(), strict=True))
    missing = [key for key in wanted if key not in state]
    unknown = [key for key in state if key not in wanted]
    misshapen = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    require(
        not (missing or unknown or misshapen),
        f"model.weights: {spec.weights} does not fit {spec.name} (missing: {len(missing)}, unknown: "
        f"{len(unknown)}, of other shape: {len(misshapen)}; first: {[*missing, *unknown, *misshapen][:1]})",
    )
    model.load_state_dict(state)


def _shapes(state: Mapping[str, Tensor]) -> list[torch.Size]:
    return [value.shape for value in state.values()]


def _read(weights: str) -> dict[str, Tensor]:
    """Weights by key from a file, or from a file that a package carries; no code in it is run."""
    try:
        with _weights_file(weights) as path:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                return load_file(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"model.weights: {weights} must hold tensors alone (save model.state_dict(), not the model)"
        ) from error
    except Exception as error:  # the formats' readers raise errors of many kinds
        raise ConfigError(f"model.weights: cannot read {weights} ({_reason(error)})") from error
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    good = isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values())
    require(good, f"model.weights: {weights} must hold a state_dict (it holds a {type(state).__name__})")
    return dict(state)


def _weights_file(weights: str) -> AbstractContextManager[Path]:
    kind, _, rest = weights.partition(":")
    if kind == "package":
        module, _, path = rest.partition("/")
        return importlib.resources.as_file(importlib.resources.files(module).joinpath(path))
    file = Path(weights).expanduser()
    if file.suffix not in (".pt", ".pth", ".safetensors"):
        raise ValueError(
            "expected random, pretrained, package:MODULE/PATH or a .pt, .pth or .safetensors file"
        )
    return nullcontext(file)


def _enliven(model: nn.Module, spec: ModelSpec) -> None:
    """Make random weights answer at about unit scale, so that a wrong split cannot go unseen.

    Fresh weights are degenerate: batch norm divides by a variance never measured (outputs near 1e-9), and
    heads or residual branches that start at zero answer nothing at all.
    """
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and not weight.any():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel()))
            else:
                nn.init.ones_(weight)
    try:
        _calibrate(model, (_CALIBRATION_BATCH_SIZE, 3, spec.input_size, spec.input_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"model.input_size: {spec.name} cannot take {spec.input_size} pixels ({_reason(error)})"
        ) from error


def _calibrate(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Set the statistics of batch norm from a few random batches of that shape."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average over the batches
        norm.train()
    with torch.no_grad():
        for _ in range(_CALIBRATION_BATCHES if norms else 1):
            model(torch.randn(shape))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
