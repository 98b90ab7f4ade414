"""Answers with NaN or infinity are refused, and the first layer that gave one is named."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pipeline.domain.checks import ConfigError
from pipeline.network.models.answers import finite_answer, is_finite
from pipeline.network.models.random_weights import make_responsive


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers).eval()


def test_finite_answers_are_returned() -> None:
    x = torch.tensor([[4.0, 9.0]])
    assert finite_answer(chain(nn.Identity(), Root()), x, "roots").tolist() == [[2, 3]]


def test_the_innermost_layer_that_is_the_first_at_fault_is_named() -> None:
    model = chain(nn.Identity(), chain(nn.Identity(), Root(), nn.ReLU()), nn.Flatten())
    with pytest.raises(ConfigError, match=r"^model.weights: roots gives .* first from 1.1 \(Root\)\); check"):
        finite_answer(model, torch.tensor([[4.0, -1.0]]), "roots")
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(ConfigError, match=r"first from its input\)"):
        finite_answer(model, torch.tensor([[4.0, math.nan]]), "roots")


def test_infinity_inside_a_model_is_no_fault() -> None:
    """A mask of attention holds -infinity, for example."""
    assert finite_answer(chain(Root(), nn.Sigmoid()), torch.tensor([math.inf]), "roots").tolist() == [1]


def test_a_model_without_layers_is_named_itself() -> None:
    with pytest.raises(ConfigError, match=r"first from the model itself \(Root\)"):
        finite_answer(Root(), torch.tensor([-1.0]), "root")


def test_random_weights_that_give_nan_are_refused() -> None:
    class Logarithm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.log()

    with pytest.raises(ConfigError, match=r"^model.weights: logs gives .* first from 1 \(Logarithm\)"):
        make_responsive(chain(nn.Conv2d(3, 2, 1), Logarithm()), "logs", 8)


def test_every_tensor_of_an_answer_counts() -> None:
    good, bad = torch.ones(2), torch.tensor([1.0, -math.inf])
    assert is_finite(good)
    assert is_finite((good, [good, torch.tensor([1, 2])]))
    assert not is_finite(bad)
    assert not is_finite((good, bad))
    assert not is_finite([good, bad])
