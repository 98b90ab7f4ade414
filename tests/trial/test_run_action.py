"""A partitioner of a user's own that answers no plan is one line that names it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.trial.run_action import _service
from tests.conftest import MakeProblem


class Silent:
    """Answers nothing."""

    def partition(self, _: object) -> None:
        return None


class Asked:
    """What a trial is asked for here."""

    def __init__(self, problem: Any) -> None:
        self.plan, self.partitioner, self.problem = None, Silent(), lambda *_: problem


def test_a_partitioner_that_answers_nothing_is_named(make_problem: MakeProblem, two_devices: Fleet) -> None:
    """It was an AttributeError somewhere else."""
    trial = cast("Any", Asked(make_problem(two_devices)))
    with pytest.raises(ConfigError, match="^partitioner: Silent answered None for tiny: it must be a Plan$"):
        _service(trial, cast("Any", None), cast("Any", None), (), ())
