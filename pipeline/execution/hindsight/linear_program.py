"""A run's tasks as a linear program over time slots. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from pipeline.execution.hindsight.lp_blocks import Block, blocks_of
from pipeline.execution.hindsight.schedule_problem import Floats, Ints, Situation, Tasks
from pipeline.execution.hindsight.time_slots import least_intensity, slot_length_s


@dataclass(frozen=True, eq=False)
class LinearProgram:
    """The emissions of a task in each slot, and the linear program of the tasks that have a deadline.

    A task may be divided among devices and among the slots that overlap its window, each at the least
    intensity of the slot; no device computes longer in a slot than it is up.
    """

    step_s: float
    """Length of a slot."""
    unit_g: Floats
    """(stages, devices, slots): grams of a task that takes its predicted time; infinite if the device does
    not hold the stage."""
    whenever_g: Floats
    """(stages, slots): least grams on any device from the slot on, for tasks late or without a deadline. The
    last slot is after all deadlines, and has no end."""
    blocks: Sequence[Block]

    @classmethod
    def of(cls, tasks: Tasks, where: Situation) -> Self:
        """The program of the tasks, of which there must be at least one."""
        step_s = slot_length_s(tasks, where)
        end_s = max(tasks.due_s[np.isfinite(tasks.due_s)].max(initial=0.0), tasks.release_s.max())
        slots = int(end_s / step_s) + 2
        unit_g = where.g_per_intensity[:, :, None] * least_intensity(where, step_s, slots)
        unit_g[np.isnan(unit_g)] = math.inf  # inf * 0
        whenever_g = np.minimum.accumulate(unit_g.min(axis=1)[:, ::-1], axis=1)[:, ::-1]
        timed = np.isfinite(tasks.due_s).any()
        blocks = blocks_of(tasks, where, step_s, unit_g, whenever_g) if timed else []
        return cls(step_s, unit_g, whenever_g, blocks)

    def cleanest(self, stage: Ints, slot: Ints) -> tuple[Ints, Ints]:
        """(tasks,) each: the device on which a stage emits least from a slot on, and the first such slot.

        stage, slot: (tasks,), indices.
        """
        least_g = self.unit_g.min(axis=1)
        slots = np.arange(least_g.shape[1])
        best = np.full(least_g.shape, slots[-1])
        best[:, :-1] = np.where(least_g[:, :-1] <= self.whenever_g[:, 1:], slots[:-1], slots[-1])
        best = np.minimum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
        chosen = best[stage, slot]
        return self.unit_g[stage, :, chosen].argmin(axis=1), chosen
