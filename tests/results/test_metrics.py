"""Metrics of a ledger and of a model's answers, worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.ledger import account
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.results.metrics import (
    carbon_metrics,
    output_max_abs_error,
    require_answers,
    summed,
    top1_agreement,
)
from tests.conftest import INTENSITY, record, records


def test_agreement_is_the_share_of_equal_top_classes() -> None:
    answers = [torch.tensor([[0.1, 0.9]]), torch.tensor([[0.8, 0.2]])]
    expected = [torch.tensor([[0.4, 0.6]]), torch.tensor([[0.3, 0.7]])]
    assert top1_agreement(answers, expected) == 0.5
    assert output_max_abs_error(answers, expected) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rules", "stated"),
    [(("full", "fleet"), True), (("full", "used"), False), (("marginal", "fleet"), False)],
)
def test_an_sci_counts_all_reserved_hardware(
    rules: tuple[str, str], stated: bool, two_devices: Fleet
) -> None:
    """One request on fast: only with idle power and manufacture of clean too is its carbon an SCI."""
    accounting = Accounting(rules[0], reserved=rules[1])
    devices = tuple(replace(d, embodied_kg=40.0, lifetime_years=4.0) for d in two_devices.devices)
    fleet = replace(two_devices, devices=devices)
    run = records([record(0, 0, "compute", "fast", 0.0, 2.0)], 10.0, ("fast",))
    found = carbon_metrics(summed(account(run, fleet, INTENSITY, accounting)), (), 1, fleet, accounting)
    assert ("sci_g_per_inf" in found) == stated
    if stated:
        made_g = 2 * 40e3 * 10 / (4 * 365.25 * 86400)
        used_g = (20 * 2 + 10 * 10) * 600 * 1.5 / 3.6e6 + 2 * 10 * 100 / 3.6e6
        assert found["sci_g_per_inf"] == pytest.approx(made_g + used_g)


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


def test_a_run_that_answered_nothing_says_why() -> None:
    none = dict.fromkeys(("requests_ok", "requests_failed", "requests_rejected"), 0.0)
    require_answers(none | {"requests_ok": 1}, 60, {"it failed"})
    with pytest.raises(ConfigError, match=r"^workload: no request arrived within 60 s; raise workload.dur"):
        require_answers(none, 60, ())
    with pytest.raises(ConfigError, match=r"^every request was refused: no device can hold it$"):
        require_answers(none | {"requests_rejected": 2}, 60, {"no device can hold it"})
