"""The classification models of torchvision and timm, and how to build them. Shell."""

from __future__ import annotations

import difflib
import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from pipeline.domain.checks import ConfigError, first_line

# The fast path of attention fuses operators that stages run one by one: a split model would differ by 1e-6.
torch.backends.mha.set_fastpath_enabled(False)

LIBRARIES = ("torchvision", "timm")
WEIGHT_OPTIONS = (
    "cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay",
    "pretrained_strict", "progress", "weights", "weights_backbone",
)  # fmt: skip
"""Arguments of the libraries that say where weights come from: an address of them is fetched and stored."""
_AUXILIARY_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Heads of torchvision models that serve training only, by the prefix of their weights."""


def require_known(library: str, name: str) -> None:
    """Raise ConfigError, with similar names, unless the library has a classification model of that name."""
    if library == "timm":
        known, names = timm().is_model(name), timm().list_models
    else:
        models = torchvision_models()
        names = functools.partial(models.list_models, module=models)
        known = name in names()
    if not known:
        close = difflib.get_close_matches(name, names())
        hint = f"close: {', '.join(close)}" if close else f"see the models of {library}"
        raise ConfigError(f"model.name: {library} has no classification model {name!r} ({hint})")


def untrained(library: str, name: str, options: Mapping[str, Any]) -> nn.Module:
    """The model as its library initialises it, without auxiliary heads.

    Raises ConfigError where the library cannot build it with these options.
    """
    if auxiliary_heads(library, name):
        # The library's own initialisation of these models takes half a minute.
        options = {"aux_logits": False, "init_weights": False, **options}
    try:
        return _create(library, name, options)
    except ConfigError:
        raise
    except Exception as error:  # an unknown layer is a KeyError, a negative width a RuntimeError ...
        raise _bad_options(name, error) from error


def pretrained(library: str, name: str, options: Mapping[str, Any]) -> nn.Module:
    """The model with its library's default weights, downloaded or from the library's cache.

    Raises ConfigError where the weights cannot be obtained, or the model cannot be built with these options.
    """
    choice: dict[str, Any] = {"pretrained": True} if library == "timm" else {"weights": "DEFAULT"}
    try:
        return _create(library, name, {**options, **choice})
    except ConfigError:
        raise
    except Exception as error:  # libraries, hubs and sockets each raise their own
        raise ConfigError(
            f"model.weights: cannot get pretrained weights of {name} from {library} "
            f"({first_line(error)}); without internet use model.weights=random or a file"
        ) from error


def auxiliary_heads(library: str, name: str) -> tuple[str, ...]:
    """Prefixes of the weights of a model's heads that serve training only."""
    return _AUXILIARY_HEADS.get(name, ()) if library == "torchvision" else ()


@functools.cache
def torchvision_models() -> ModuleType:
    """The module torchvision.models, even where its compiled operators do not match the torch installed.

    Its published wheel is built for CUDA torch. Beside a CPU torch the import fails because the schemas of
    two operators are missing, which no classifier calls. Those schemas are declared here and the import is
    repeated; a matching build is left alone.
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
def timm() -> ModuleType:
    """The module timm."""
    torchvision_models()  # timm imports torchvision
    return importlib.import_module("timm")


def _create(library: str, name: str, options: Mapping[str, Any]) -> nn.Module:
    create: Callable[..., nn.Module]
    create = timm().create_model if library == "timm" else torchvision_models().get_model
    try:
        return create(name, **options)
    except ConfigError:
        raise
    except (TypeError, ValueError, AssertionError) as error:
        raise _bad_options(name, error) from error


def _bad_options(name: str, error: Exception) -> ConfigError:
    return ConfigError(f"model.options: {name} cannot be built ({first_line(error)})")
