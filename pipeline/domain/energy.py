"""Energy in J and carbon in g: the formulas that the ledger, the cost model and schedulers share. Pure."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

J_PER_KWH = 3.6e6
SECONDS_PER_YEAR = 365.25 * 24 * 3600
LINK_PUE = 1.0
"""PUE of a link's energy, whatever that of its ends: its J/byte covers all that moving a byte takes, such as
the cooling of routers in the kWh/GB of a wide-area network."""
LINK_END_SHARE = 0.5
"""Share of a link's energy that each of its two ends accounts for."""

Number = TypeVar("Number", float, npt.NDArray[np.float64])


def stage_energy_j(seconds: Number, power_w: Number) -> Number:
    """Joules of stages that take these seconds at a device's power, such as its power above idle."""
    return seconds * power_w


def carbon_g(energy_j: Number, intensity_g_per_kwh: Number, pue: Number) -> Number:
    """Grams of CO2e by Eq. 2 of the paper: C = E[kWh] * I[g/kWh] * PUE. Arrays broadcast."""
    return energy_j / J_PER_KWH * intensity_g_per_kwh * pue


def embodied_g(made_kg: Number, lifetime_years: Number, seconds: float) -> Number:
    """Grams of a device's embodied carbon that a reservation of `seconds` accounts for.

    They are its share of the lifetime (SCI, ISO/IEC 21031: M = TE * TS, with TS = seconds ÷ lifetime).
    made_kg: kg of CO2e from manufacture. Arrays broadcast.
    """
    return made_kg * 1e3 * seconds / (lifetime_years * SECONDS_PER_YEAR)
