"""The time slots into which the linear program divides a run. Pure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pipeline.execution.hindsight.schedule_problem import Floats, Ints, Situation, Tasks

SLOTS_PER_WINDOW = 4
"""Number of slots in the shortest window in which a task can run."""
MAX_COLUMNS = 1_000_000
"""Most columns of the linear program; if more would be needed, slots are longer and the bound is lower."""
MAX_CELLS = 20_000_000
"""Most cells of slots × stages × devices; if more would be needed, slots are longer as well."""


def slot_length_s(tasks: Tasks, where: Situation) -> float:
    """Length of a slot in seconds: a share of the shortest window, or more if there were too many columns."""
    timed = np.isfinite(tasks.due_s)
    window_s = tasks.window_s[timed]
    can = window_s >= where.seconds.min(axis=1)[tasks.stage[timed]] * tasks.ratio[timed]
    devices = np.isfinite(where.seconds).sum(axis=1)[tasks.stage[timed]]
    step_s = max(float(window_s[can].min(initial=3600.0)), 1e-6) / SLOTS_PER_WINDOW
    while True:
        if step_s > 1:  # slots end on the hour, when intensities change
            step_s = 3600 / math.ceil(3600 / step_s) if step_s < 3600 else 3600 * math.ceil(step_s / 3600)
        begin, end = window_slots(tasks, timed, step_s)
        _, group = np.unique(np.stack([tasks.stage[timed], begin, end]), axis=1, return_index=True)
        slots = max(end.max(initial=0), tasks.release_s.max() / step_s) + 2
        cells = slots * where.seconds.size
        if ((end - begin) * devices)[group].sum() <= MAX_COLUMNS and cells <= MAX_CELLS:
            return step_s
        step_s *= 2


def window_slots(tasks: Tasks, which: Any, step_s: float) -> tuple[Ints, Ints]:
    """(tasks,) each: the first slot that a task's window overlaps, and the slot after the last one.

    which: a mask or indices of the tasks.
    """
    begin = np.floor(tasks.release_s[which] / step_s).astype(np.int64)
    end = np.ceil(tasks.due_s[which] / step_s).astype(np.int64)
    return begin, np.maximum(end, begin + 1)


def least_intensity(where: Situation, step_s: float, slots: int) -> Floats:
    """(devices, slots): the least intensity in force at any time of a slot, in gCO2e/kWh.

    The last slot has no end: it lasts as long as the intensities do.
    """
    since_s = where.intensity.since_s
    least = where.g_per_kwh[:, since_s.searchsorted(np.arange(slots) * step_s, side="right") - 1]
    inside = np.minimum(since_s / step_s, slots - 1).astype(np.int64)
    np.minimum.at(least.T, inside, where.g_per_kwh.T)
    return least


def available_share(where: Situation, step_s: float, slots: int) -> Floats:
    """(devices, slots): the share of a slot in which a device is up."""
    edges = np.arange(slots + 1) * step_s
    share = np.ones((len(where.fleet.devices), slots))
    for outage in where.outages:
        gone = np.clip(edges, outage.at_s, outage.at_s + outage.duration_s)
        own = share[list(where.fleet.by_name).index(outage.device)]
        np.minimum(own, np.maximum(1 - np.diff(gone) / step_s, 0), out=own)
    return share
