"""A fast device and a clean one, and a model of one stage on both."""

from __future__ import annotations

from pipeline.domain.fleet import Device, Fleet
from pipeline.domain.plan import AUTO
from pipeline.execution.deployment import StageDeployment

FLEET = Fleet(
    "two",
    (
        Device("fast", 1e9, active_w=36, intensity_g_per_kwh=500),  # 5 mg a second
        Device("clean", 1e9, active_w=36, intensity_g_per_kwh=100),  # 1 mg a second
    ),
)
WORK = [StageDeployment(0, 0, AUTO, 0, 0, {"fast": 1.0, "clean": 2.0}, 0.0)]
