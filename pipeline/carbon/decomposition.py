"""What sets the carbon of two runs apart: energy, intensity, network, embodied carbon. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

EFFECTS = ("energy", "intensity", "network", "embodied")


@dataclass(frozen=True)
class Footprint:
    """What an inference takes on average."""

    energy_j: float
    """Of devices, links not included."""
    operational_g: float
    """Carbon of that energy."""
    network_g: float = 0.0
    embodied_g: float = 0.0

    @classmethod
    def of(cls, metrics: Mapping[Any, Any]) -> Self:
        """From a run's metrics. What a run's boundary leaves out counts as nothing on that side."""

        def per_inf(key: str) -> float:
            value = float(metrics.get(key, 0.0)) / metrics["requests_ok"]
            return 0.0 if math.isnan(value) else value

        network_g, embodied_g = per_inf("carbon_network_g"), per_inf("carbon_embodied_g")
        moved_j = metrics.get("network_j_per_inf", 0.0)
        energy_j = metrics["energy_j_per_inf"] - (0.0 if math.isnan(moved_j) else moved_j)
        return cls(energy_j, metrics["carbon_g_per_inf"] - network_g - embodied_g, network_g, embodied_g)

    @property
    def total_g(self) -> float:
        """All of its carbon."""
        return self.operational_g + self.network_g + self.embodied_g


def effects(before: Footprint, after: Footprint) -> dict[str, float]:
    """Why carbon per inference differs, in grams by EFFECTS: they add up to after - before.

    With C = E * I, E joules and I grams a joule (PUE and who computes where included), and the logarithmic
    mean L(a, b) = (a - b) / ln(a / b):
    C1 - C0 = L(C1, C0) ln(E1 / E0) + L(C1, C0) ln(I1 / I0), without a residual (LMDI-I; Ang, "The LMDI
    approach to decomposition analysis", Energy Policy 33, 2005). Links and manufacture stand beside it.
    """
    c0, c1, e0, e1 = before.operational_g, after.operational_g, before.energy_j, after.energy_j
    if min(e0, e1) <= 0:
        energy = c1 - c0  # their limits: what draws nothing emits nothing by its energy,
    elif min(c0, c1) <= 0:
        energy = 0.0  # what draws something and emits nothing does so by its intensity
    else:
        rise = (c1 - c0) / c0
        log = math.log1p(rise) if abs(rise) < 0.5 else math.log(c1 / c0)  # to all digits near and far
        mean = (c1 - c0) / log if log else c1
        energy = mean * math.log(e1 / e0)
    return {
        "energy": energy,
        "intensity": c1 - c0 - energy,
        "network": after.network_g - before.network_g,
        "embodied": after.embodied_g - before.embodied_g,
    }
