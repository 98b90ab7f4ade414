"""The columns of a label: all figures in which one partial plan can be better than another. Pure."""

from __future__ import annotations

import numpy as np

from pipeline.planning.label_setting.prices import Prices
from pipeline.planning.label_setting.rules import Bools


class Columns:
    """Index of the column of each figure of a label; -1: no column is needed. Smaller values are better.

    sums      the first columns: each objective but the period so far (`Prices.sums`)
    period    seconds of the busiest device or link of the earlier stages; busy: of the current device
    stages    number of stages so far
    reach     minus the last cut up to which the current stage fits its device (where some would not fit)
    memory_of (D,): bytes of parameters and, in the next column, peak bytes of each watched device
    held_of   (D,): a flag for each device that costs while it is held, or that is watched and may not return
    once      (D,): bool, the watched devices that may hold one stage only
    shared    where stages share parameters, the first layer of the current stage and, in the next column,
              minus that layer: labels that differ in it are all kept
    """

    def __init__(self, prices: Prices, watched: Bools) -> None:
        tables, rules, num_devices, width = prices.tables, prices.rules, prices.num_devices, prices.width
        # A latency that is only there for the look-ahead to have a column makes no label better.
        self.first = int(
            prices.sums == ["latency_s"] and "latency_s" not in prices.objectives and not prices.rates
        )
        self.period = self.busy = self.stages = self.reach = self.shared = -1
        if "period_s" in prices.objectives:
            self.period, width = width, width + 1
            if rules.distinct:
                self.busy, width = width, width + 1
        if rules.max_stages is not None:
            self.stages, width = width, width + 1
        if (prices.fits[:, :-1] < prices.num_layers).any():
            self.reach, width = width, width + 1
        self.memory_of = np.full(num_devices, -1)
        if rules.memory and not rules.distinct and watched.any():
            self.memory_of[watched] = width + 2 * np.arange(watched.sum())
            width += 2 * int(watched.sum())
            layer_bytes = np.diagonal(tables.param_bytes, 1)
            if layer_bytes.sum() > tables.param_bytes[0, -1]:
                self.shared, width = width, width + 2
        flagged = watched & rules.distinct
        for rate in prices.rates.values():
            flagged = flagged | (rate > 0)
        self.once = flagged & watched & rules.distinct
        self.held_of = np.full(num_devices, -1)
        self.held_of[flagged] = width + np.arange(flagged.sum())
        self.width = width + int(flagged.sum())
