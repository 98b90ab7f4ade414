"""Forecasts of carbon intensity for schedulers. Pure: the errors are drawn from a seed.

`none` keeps the present value, `perfect` is the true course, `persistence` repeats the day before, hour by
hour, and `noisy` is the true course times random factors. Each forecast is made at one step of the run's
intensity, and has a value for this step and for every later one.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from pipeline.carbon.intensity import Intensity
from pipeline.domain.fleet import Fleet

Floats = npt.NDArray[np.float64]

FORECASTS = ("none", "perfect", "persistence", "noisy")
DAY_S = 86_400.0


def forecast(kind: str, fleet: Fleet, intensity: Intensity, step: int, *, error: float, seed: int) -> Floats:
    """(devices, steps from `step` on): gCO2e/kWh, devices as in `intensity.names`; `step` is the present one.

    The present value is known. persistence: the latest known value a whole number of days before; without
    one, the present value. noisy: the true value × exp(error × z - error²/2), z standard normal for each
    zone and step.
    """
    truth = intensity.g_per_kwh[:, step:]
    if kind == "none":
        return np.repeat(truth[:, :1], truth.shape[1], axis=1)
    if kind == "persistence":
        return np.asarray(_persistence(intensity, step))
    if kind == "noisy":
        known = {
            device.name: _noise(device.zone or device.name, intensity, error, seed)
            for device in fleet.devices
        }
        seen = truth * np.array([known[name][step:] for name in intensity.names])
        seen[:, 0] = truth[:, 0]
        return np.asarray(seen)
    return np.asarray(truth)


def _persistence(intensity: Intensity, step: int) -> Floats:
    since_s = intensity.since_s[step:]
    days = np.maximum(1, np.ceil((since_s - since_s[0]) / DAY_S))
    before_s = np.where(since_s > since_s[0], since_s - days * DAY_S, since_s[0])
    source = intensity.since_s.searchsorted(before_s, side="right") - 1
    return np.asarray(intensity.g_per_kwh[:, np.where(before_s < 0, step, source)])


def _noise(zone: str, intensity: Intensity, error: float, seed: int) -> Floats:
    own = int.from_bytes(hashlib.blake2b(f"{seed} {zone}".encode(), digest_size=8).digest())
    z = np.random.default_rng(own).standard_normal(len(intensity.since_s))
    return np.asarray(np.exp(error * z - error**2 / 2))
