"""Metrics of a model's answers, worked by hand."""

from __future__ import annotations

import pytest
import torch

from pipeline.results.metrics import output_max_abs_error, top1_agreement


def test_agreement_is_the_share_of_equal_top_classes() -> None:
    answers = [torch.tensor([[0.1, 0.9]]), torch.tensor([[0.8, 0.2]])]
    expected = [torch.tensor([[0.4, 0.6]]), torch.tensor([[0.3, 0.7]])]
    assert top1_agreement(answers, expected) == 0.5
    assert output_max_abs_error(answers, expected) == pytest.approx(0.5)
