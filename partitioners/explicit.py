"""The plan that the config specifies, cut by cut and device by device, so that sweeps can vary it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from partitioners.settings import require_layers
from pipeline.domain.checks import require, require_list, require_whole
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import AUTO, Plan
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class Explicit:
    """A device for each stage, and cuts as fractions of the layers, so that one search space fits all models.

    The first `stages - 1` cuts and the first `stages` devices count; the rest is ignored, so that a sweep can
    vary `stages` alone. Cuts may be in any order. Where two cuts fall on the same cut point, the empty
    stage between them is left out together with its device. Raises ConfigError for too few cuts or devices,
    and for a cut that is not between 0 and 1.
    """

    stages: int
    cuts: Sequence[float] = ()
    devices: Sequence[str] = (AUTO,)

    def __post_init__(self) -> None:
        require_list("partitioner.cuts", self.cuts, "fractions")
        require_list("partitioner.devices", self.devices, "devices")
        object.__setattr__(self, "cuts", tuple(self.cuts))
        object.__setattr__(self, "devices", tuple(self.devices))
        require_whole("partitioner", "stages", self.stages, least=1)
        require(
            len(self.cuts) >= self.stages - 1,
            f"partitioner.cuts: {self.stages} stages need {self.stages - 1} cuts (cuts: {list(self.cuts)})",
        )
        require(
            len(self.devices) >= self.stages,
            f"partitioner.devices: {self.stages} stages need {self.stages} devices or auto "
            f"(devices: {list(self.devices)})",
        )
        for index, cut in enumerate(self.cuts):
            number = isinstance(cut, int | float) and not isinstance(cut, bool) and math.isfinite(cut)
            require(
                number and 0 < cut < 1,
                f"partitioner.cuts.{index}: a cut is a fraction of the chain, between 0 and 1 (cut: {cut!r})",
            )

    def partition(self, problem: Problem) -> Plan:
        """The plan with cut points round(fraction * layers), but at least 1 and at most layers - 1.

        Raises ConfigError for more stages than layers, an unknown device, and a plan that does not fit
        memory.
        """
        num_layers = len(problem.graph.layers)
        require_layers(problem, self.stages)
        self.require_devices(problem.fleet)
        inner = sorted(
            min(max(round(cut * num_layers), 1), num_layers - 1) for cut in self.cuts[: self.stages - 1]
        )
        bounds = [0]
        devices = []
        for end, device in zip([*inner, num_layers], self.devices, strict=False):
            if end > bounds[-1]:
                bounds.append(end)
                devices.append(device)
        return problem.plan(tuple(bounds), tuple(devices))

    def require_devices(self, fleet: Fleet) -> None:
        """Raise ConfigError for an unknown device of a stage."""
        for index, device in enumerate(self.devices[: self.stages]):
            if device != AUTO:
                fleet.require_device(f"partitioner.devices.{index}", device)

    def settings_for(self, plan: Plan, num_layers: int) -> Mapping[str, Any]:
        """The keys that make `partition` return the plan; a cut is bound ÷ layers and rounds to the bound."""
        return {
            "stages": plan.num_stages,
            **{f"cuts.{i}": bound / num_layers for i, bound in enumerate(plan.bounds[1:-1])},
            **{f"devices.{i}": device for i, device in enumerate(plan.devices)},
        }
