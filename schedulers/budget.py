"""Fast while there is carbon to spend: grams by tenant and hour, then the greenest device. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.domain.checks import require, require_number
from pipeline.domain.tasks import Assign, Decision, Task
from pipeline.execution.fleet_state import FleetState
from schedulers.able import earliest, least_carbon, nobody


@dataclass(frozen=True)
class Budget:
    """Earliest completion while the tenant can pay for it, else the least carbon; nothing is dropped.

    What a task is predicted to emit is booked when it is given to a device. Hours are the run's.
    """

    g_per_hour: float | None = None
    """For each tenant; None: no limit."""
    tenants: Mapping[str, float] = field(default_factory=dict)
    """Grams an hour of tenants with a budget of their own."""

    def __post_init__(self) -> None:
        if self.g_per_hour is not None:
            require_number("scheduler", "g_per_hour", self.g_per_hour, least=0)
        require(isinstance(self.tenants, Mapping), f"scheduler.tenants: must be a mapping ({self.tenants!r})")
        for tenant, grams in self.tenants.items():
            require_number("scheduler.tenants", tenant, grams, least=0)

    def decide(self, task: Task, state: FleetState) -> Decision:
        """Assign; Wait for a device that is gone, or Refuse, where nobody is able."""
        device = earliest(task, state)
        if device is None:
            return nobody(task, state)
        own = self.tenants.get(task.tenant, self.g_per_hour)
        left_g = math.inf if own is None else own - state.spent_g.get(task.tenant, 0.0)
        if state.carbon_g(task, device) > left_g:
            device = least_carbon(task, state) or device
        return Assign(device.name)
