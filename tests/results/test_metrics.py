"""Metrics of a model's answers, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.results.metrics import output_max_abs_error, top1_agreement


def test_agreement_is_the_share_of_equal_top_classes() -> None:
    answers = [torch.tensor([[0.1, 0.9]]), torch.tensor([[0.8, 0.2]])]
    expected = [torch.tensor([[0.4, 0.6]]), torch.tensor([[0.3, 0.7]])]
    assert top1_agreement(answers, expected) == 0.5
    assert output_max_abs_error(answers, expected) == pytest.approx(0.5)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("bad", [[NAN, NAN], [0.1, NAN], [0.1, INF], [-INF, 0.9]])
def test_an_answer_that_is_not_finite_agrees_with_none(bad: list[float]) -> None:
    good, broken = torch.tensor([[0.1, 0.9]]), torch.tensor([bad])
    for answers, expected in (([broken], [broken]), ([broken], [good]), ([good], [broken])):
        assert top1_agreement(answers, expected) == 0
        assert top1_agreement([*answers, good], [*expected, good]) == 0.5


def test_an_unknown_error_is_not_hidden_by_a_known_one() -> None:
    good, broken = torch.tensor([[0.1, 0.9]]), torch.tensor([[0.1, NAN]])
    for answers in ([good, broken], [broken, good]):
        assert math.isnan(output_max_abs_error(answers, [good, good]))
    assert output_max_abs_error([torch.tensor([[0.1, INF]])], [good]) == INF
