"""Models that can be exported, and the messages for those that cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from pipeline.domain.checks import ConfigError
from pipeline.network.graph import Graph
from pipeline.network.models.answers import finite_answer
from pipeline.network.models.spec import ModelSpec
from tests.network.conftest import (
    Block,
    example,
)


def test_a_model_takes_the_input_size_of_its_spec() -> None:
    model = ModelSpec("inception_v3", "torchvision", input_size=107).build()
    graph = Graph.of(model, example(107), "inception_v3")
    assert graph.cuts[0].tensors[0].shape == (1, 3, 107, 107)
    with pytest.raises(ConfigError, match="torch.export cannot trace inception_v3"):
        Graph.of(model, example(32), "inception_v3")


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.count: Tensor
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x + self.count


class Autocast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ x


class Number(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return x + 1, 3


class Returns(nn.Module):
    """Its scores in a container."""

    def __init__(self, pack: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.pack = pack

    def forward(self, x: Tensor) -> Any:
        return self.pack(x + 1)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Branching(), r"torch.export cannot trace it \(Could not guard on data-dependent expression"),
        (TwoInputs(), r"it must take one input \(it takes x, y\)"),
        (Counter(), "it changes its own parameters or buffers"),
        (Autocast(), "it uses wrap_with_autocast, which is not a plain aten operator"),
        (Number(), r"it must return tensors only \(it returns \[3\]\)"),
        (Returns(lambda y: None), r"it must return tensors only \(it returns \[None\]\)"),
        (Returns(lambda y: {"logits": y}), r"it must return a tensor, .* \(it returns a dict\)"),
        (Returns(lambda y: (y, (y,))), r"it must return a tensor, .*a tuple with others inside"),
        (Returns(lambda y: [y, {"a": y}]), r"it must return a tensor, .*a list with others inside"),
        (nn.Identity(), "it has no operators"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_models_that_cannot_be_cut(module: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^model.name: {message}") as caught:
        Graph.of(module.eval(), example(8), "it")
    assert "\n" not in str(caught.value)


class Scores(NamedTuple):
    scores: Tensor
    auxiliary: Tensor


@pytest.mark.parametrize("pack", [lambda y: y, lambda y: (y, y), lambda y: [y, y], lambda y: Scores(y, y)])
def test_a_tensor_or_a_flat_tuple_is_an_answer(pack: Callable[[Tensor], Any]) -> None:
    module = Returns(pack).eval()
    assert len(Graph.of(module, example(8), "it")) == 1
    assert torch.equal(finite_answer(module, example(8), "it"), example(8) + 1)


def test_a_model_in_training_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be in eval mode"):
        Graph.of(Block(), example(8), "it")
