"""Joules and grams: the rules that every account, prediction and schedule shares. Pure."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

J_PER_KWH = 3.6e6
Number = TypeVar("Number", float, npt.NDArray[np.float64])


def carbon_g(energy_j: Number, intensity_g_per_kwh: Number, pue: Number) -> Number:
    """Eq. 2 of the paper: C = E[kWh] * I[g/kWh] * PUE."""
    return energy_j / J_PER_KWH * intensity_g_per_kwh * pue
