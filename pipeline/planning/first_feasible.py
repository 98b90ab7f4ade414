"""Draw plans until one is feasible. Pure; chance is the caller's."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.domain.checks import ConfigError
from pipeline.domain.plan import Plan
from pipeline.planning.cost import require_connected
from pipeline.planning.problem import Problem

MAX_DRAWS = 1000


def first_feasible(key: str, problem: Problem, draw: Callable[[], Plan]) -> Plan:
    """The first plan drawn that fits memory and whose devices are connected.

    draw: raises ConfigError for a plan that does not fit. Raises ConfigError after MAX_DRAWS such plans.
    """
    reason = ""
    for _ in range(MAX_DRAWS):
        try:
            plan = draw()
            require_connected(problem, plan)
            return plan
        except ConfigError as error:
            reason = str(error)
    raise ConfigError(f"{key}: none of {MAX_DRAWS} random plans is possible (the last: {reason})")
