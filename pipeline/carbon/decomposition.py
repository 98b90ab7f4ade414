"""Why the carbon of two runs differs: energy, intensity, network, embodied carbon. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

EFFECTS = ("energy", "intensity", "network", "embodied")
ROUNDING = 1e-13
"""Share of the carbon below which an effect comes from rounding."""


@dataclass(frozen=True)
class Footprint:
    """Mean energy and carbon of an inference."""

    energy_j: float
    """Energy of devices, without links."""
    operational_g: float
    """Carbon of that energy."""
    network_g: float = 0.0
    embodied_g: float = 0.0

    @classmethod
    def of(cls, metrics: Mapping[Any, Any]) -> Self:
        """The footprint from a run's metrics, by key. A component outside the run's boundary counts as 0.

        A device's carbon is the sum of its components, as differences of large totals may be below 0.
        """

        def per_inf(key: str) -> float:
            value = float(metrics.get(key, 0.0)) / metrics["requests_ok"]
            return 0.0 if math.isnan(value) else value

        network_g, embodied_g = per_inf("carbon_network_g"), per_inf("carbon_embodied_g")
        moved_j = metrics.get("network_j_per_inf", 0.0)
        energy_j = max(0.0, metrics["energy_j_per_inf"] - (0.0 if math.isnan(moved_j) else moved_j))
        operational_g = metrics["carbon_g_per_inf"] - network_g - embodied_g
        if "carbon_dynamic_g" in metrics:
            operational_g = per_inf("carbon_dynamic_g") + per_inf("carbon_idle_g")
        return cls(energy_j, max(0.0, operational_g), network_g, embodied_g)

    @property
    def total_g(self) -> float:
        """All carbon of an inference."""
        return self.operational_g + self.network_g + self.embodied_g


def effects(before: Footprint, after: Footprint) -> dict[str, float]:
    """Grams by which each of EFFECTS changes the carbon per inference; they add up to after - before.

    With C = E * I, where E is in joules and I in grams per joule (it includes PUE and the choice of devices),
    and the logarithmic mean L(a, b) = (a - b) / ln(a / b):
    C1 - C0 = L(C1, C0) ln(E1 / E0) + L(C1, C0) ln(I1 / I0), without a residual (LMDI-I; Ang, "The LMDI
    approach to decomposition analysis", Energy Policy 33, 2005). Network and embodied carbon are differences.
    """
    c0, c1, e0, e1 = before.operational_g, after.operational_g, before.energy_j, after.energy_j
    if min(e0, e1) <= 0:
        energy = c1 - c0  # the limits: without energy, all of the change is an effect of energy;
    elif min(c0, c1) <= 0:
        energy = 0.0  # with energy but without carbon, all of it is an effect of intensity
    else:
        rise = (c1 - c0) / c0
        # Accurate near 0 and far from it, where the quotient may be no number.
        log = math.log1p(rise) if abs(rise) < 0.5 else math.log(c1) - math.log(c0)
        mean = (c1 - c0) / log if log else c1
        energy = mean * (
            math.log1p((e1 - e0) / e0) if abs(e1 - e0) < 0.5 * e0 else math.log(e1) - math.log(e0)
        )
    small = ROUNDING * max(c0, c1)  # what is smaller comes from rounding and is no effect
    energy = 0.0 if abs(energy) <= small else c1 - c0 if abs(c1 - c0 - energy) <= small else energy
    return {
        "energy": energy,
        "intensity": c1 - c0 - energy,
        "network": after.network_g - before.network_g,
        "embodied": after.embodied_g - before.embodied_g,
    }
