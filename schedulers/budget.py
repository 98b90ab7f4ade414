"""Earliest completion while a tenant's hourly carbon budget lasts, then the greenest device. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.domain.checks import require_mapping, require_number
from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.feasibility import earliest, least_carbon, none_able


@dataclass(frozen=True)
class Budget:
    """Earliest completion if the task's carbon fits the rest of the tenant's budget, else the least carbon.

    No task is refused for its carbon. A task's predicted carbon is spent when it is assigned. Hours begin
    with the run. Raises ConfigError naming a budget that is not a number >= 0.
    """

    g_per_hour: float | None = None
    """Budget of each tenant, in grams per hour; None: no limit."""
    tenants: Mapping[str, float] = field(default_factory=dict)
    """Budgets in grams per hour by tenant, which replace `g_per_hour`."""

    def __post_init__(self) -> None:
        if self.g_per_hour is not None:
            require_number("scheduler", "g_per_hour", self.g_per_hour, least=0)
        require_mapping("scheduler.tenants", self.tenants, "tenants to grams per hour")
        for tenant, grams in self.tenants.items():
            require_number("scheduler.tenants", tenant, grams, least=0)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign; if no device is able, Wait for one that is down, or Refuse."""
        device = earliest(task, state)
        if device is None:
            return none_able(task, state)
        budget_g = self.tenants.get(task.tenant, self.g_per_hour)
        left_g = math.inf if budget_g is None else budget_g - state.spent_g.get(task.tenant, 0.0)
        if state.carbon_g(task, device) > left_g:
            device = least_carbon(task, state) or device
        return Assign(device.name)
