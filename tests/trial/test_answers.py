"""A run whose answers are not finite is refused: before it where the whole model's are not, else after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import torch

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.execution.backend import Backend
from pipeline.execution.backends.emulated import Emulated
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.network.models.spec import ModelSpec
from pipeline.trial.answers import inputs_and_answers, require_finite_answers
from pipeline.trial.trial import Trial
from tests.conftest import TWO_STAGES, MakeProblem, make_job

SPEC = ModelSpec("test_byobnet", "timm", input_size=32)


@dataclass(frozen=True)
class Pictures:
    """Noise of these magnitudes, one picture each."""

    scales: Sequence[float]

    def inputs(self, spec: Any, requests: int | None) -> Sequence[torch.Tensor]:
        return [torch.ones(1, 3, 32, 32) * scale for scale in self.scales[:requests]]


@dataclass(frozen=True)
class Parts:
    """What a trial needs for its answers."""

    images: Pictures
    backend: Backend
    models: tuple[ModelSpec, ...] = (SPEC,)


def trial(backend: Backend, *scales: float) -> Trial:
    return cast(Trial, Parts(Pictures(scales), backend))


def test_each_input_has_the_unsplit_models_answer() -> None:
    inputs, answers = inputs_and_answers(trial(Emulated(), 1, 2, 3), SPEC, 2)
    assert [float(x.max()) for x in inputs] == [1, 2]
    module = SPEC.build()
    assert all(torch.equal(module(x), answer) for x, answer in zip(inputs, answers, strict=True))


class Noisy(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) + torch.rand(1, 3)


def test_a_model_that_is_not_deterministic_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inputs_and_answers(trial(Emulated(), 1, 2), SPEC, 2)
    assert not caplog.records
    monkeypatch.setattr("pipeline.trial.answers.built", lambda *_: (Noisy(), None))
    inputs_and_answers(trial(Emulated(), 1, 2), SPEC, 2)
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("test_byobnet is not deterministic: it answers the same image differently")


def test_an_input_without_a_finite_answer_is_refused_where_the_run_computes() -> None:
    with pytest.raises(ConfigError, match="^model.weights: test_byobnet gives answers that are not"):
        inputs_and_answers(trial(Emulated(), 1, math.inf), SPEC, 2)
    assert inputs_and_answers(trial(Simulated(), 1, math.inf), SPEC, 2) == ((), ())


@pytest.mark.parametrize("compression", ["float32", "float16"])
def test_a_run_with_an_answer_that_is_not_finite_fails(
    make_problem: MakeProblem, two_devices: Fleet, compression: str
) -> None:
    plan = Plan((0, 3, 6), ("fast", "clean"), compression=compression)
    job = make_job(make_problem(two_devices), plan, Closed(3))
    good, bad = torch.ones(1, 10), torch.full((1, 10), math.nan)
    require_finite_answers(job, replace(TWO_STAGES, outputs=(good, good)))
    with pytest.raises(ConfigError, match="^1 of 3 answers are not finite .NaN or infinity.") as caught:
        require_finite_answers(job, replace(TWO_STAGES, outputs=(good, bad, good)))
    assert ("another compression than float16" in str(caught.value)) == (compression == "float16")
