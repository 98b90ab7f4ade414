"""What a scheduler may know of the carbon intensities to come. Pure: errors are a seed's.

`none` says that all stays as it is, `perfect` is the truth, `persistence` says that tomorrow is as today,
hour by hour, `noisy` is the truth times a random factor. Each gives the value of every step of the run's
intensity as it looks from one of them.
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
    """gCO2e/kWh of each device (rows, in the fleet's order) in the steps from `step`, the present one, on.

    The present value is known. persistence: of the latest whole number of days before that is known, else
    the present value. noisy: the truth × exp(error × z - error²/2), z standard normal, one a zone and step.
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
