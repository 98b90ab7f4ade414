"""Models and their graphs, kept from trial to trial. Shell: it holds state."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.network.graph import Graph
from pipeline.network.models.spec import ModelSpec

_built: dict[str, tuple[torch.nn.Module, Graph]] = {}


def built(spec: ModelSpec, kept: Sequence[ModelSpec]) -> tuple[torch.nn.Module, Graph]:
    """A model and its graph. Those of `kept` stay in memory, as the trials of a sweep mostly share them."""
    key = repr(spec)
    if key not in _built:
        module = spec.build()
        example = torch.zeros(1, 3, spec.input_size, spec.input_size)
        for old in _built.keys() - {repr(each) for each in kept}:
            del _built[old]
        _built[key] = module, Graph.of(module, example, spec.name)
    return _built[key]
