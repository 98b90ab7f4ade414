"""A schedule of undivided tasks from the solution of the linear program. Pure."""

from __future__ import annotations

import math

import numpy as np

from pipeline.execution.hindsight.linear_program import LinearProgram
from pipeline.execution.hindsight.schedule_problem import Schedule, Situation, Tasks

CLEANER = 1e-3
"""Relative reduction in emissions that a later slot must offer for a task to wait for it."""


def rounded_schedule(tasks: Tasks, where: Situation) -> Schedule:
    """The program's solution with the fewest late answers, rounded so that no task is divided.

    The tasks of a group are distributed in order of arrival over the devices and slots in which the program
    runs the group. A task begins at once, unless its slot is cleaner than the one of its release. A late task
    has no device.
    """
    device = np.full(len(tasks), -1)
    begin_s = np.full(len(tasks), -math.inf)
    if not len(tasks):
        return Schedule(device, begin_s)
    program = LinearProgram.of(tasks, where)
    slot = (tasks.release_s / program.step_s).astype(np.int64)
    free = np.flatnonzero(np.isinf(tasks.due_s))
    device[free], chosen = program.cleanest(tasks.stage[free], slot[free])
    cleaner = chosen > slot[free]
    begin_s[free[cleaner]] = chosen[cleaner] * program.step_s
    dear = max((float(block.cost_g.max() / block.late.max()) for block in program.blocks), default=0.0)
    for block in program.blocks:
        done = block.shares(1e3 * (dear or 1.0))
        inside = len(block.device)
        order = np.lexsort((block.slot, block.row[:inside]))
        ends = np.searchsorted(block.row[:inside][order], np.arange(len(block.tasks) + 1))
        for group, own in enumerate(block.tasks):
            cells = order[ends[group] : ends[group + 1]]
            middle = np.cumsum(tasks.ratio[own]) - tasks.ratio[own] / 2
            place = np.searchsorted(np.cumsum(done[cells]), middle)
            dealt, cell = own[place < len(cells)], cells[place[place < len(cells)]]
            device[dealt] = block.device[cell]
            k, d, when = tasks.stage[dealt], block.device[cell], block.slot[cell]
            cleaner = program.unit_g[k, d, when] < program.unit_g[k, d, slot[dealt]] * (1 - CLEANER)
            begin_s[dealt[cleaner]] = when[cleaner] * program.step_s
    return Schedule(device, begin_s)
