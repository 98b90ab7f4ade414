"""The exact front of a problem with few plans: each of them is priced. Pure."""

from __future__ import annotations

from itertools import chain, combinations
from math import comb

import numpy as np

from pipeline.planning.cost import Ints, Tables
from pipeline.planning.label_setting.plan_arrays import Plans, joined
from pipeline.planning.label_setting.rules import PlanRules

MOST_CELLS = 10**6
"""Most plans times pairs of devices, as a plan's price has a figure for each pair.

So many take a tenth of a second. Label setting took a tenth to thirty times as long on such problems.
"""


def has_few_plans(tables: Tables, rules: PlanRules) -> bool:
    """Whether all plans under these rules can be priced quickly."""
    devices, most, plans = len(tables.names), MOST_CELLS / len(tables.names) ** 2, 0
    placements = devices
    for stages in range(1, _most_stages(tables, rules) + 1):
        plans += placements * comb(tables.num_layers - 1, stages - 1)
        if plans > most:
            return False
        placements *= devices - (stages if rules.distinct else 1)
    return True


def all_plans(tables: Tables, rules: PlanRules) -> Plans:
    """Every plan that obeys the rules; no two neighbouring stages share a device."""
    layers, devices = tables.num_layers, np.arange(len(tables.names))
    where, found = devices[:, None], []
    for stages in range(1, _most_stages(tables, rules) + 1):
        if stages > 1:
            used = where if rules.distinct else where[:, -1:]
            row, device = np.nonzero((used[:, :, None] != devices).all(axis=1))
            where = np.concatenate([where[row], device[:, None]], axis=1)
        bounds = _bounds(layers, stages)
        found.append((np.repeat(bounds, len(where), axis=0), np.tile(where, (len(bounds), 1))))
    bounds, where = joined(*found)
    allowed = ~rules.broken(tables, bounds, where).any(axis=1)
    return bounds[allowed], where[allowed]


def _most_stages(tables: Tables, rules: PlanRules) -> int:
    """A device cannot follow itself, so one device has no plan of two stages."""
    devices = len(tables.names)
    return min(
        tables.num_layers,
        rules.max_stages or tables.num_layers,
        devices if rules.distinct or devices == 1 else tables.num_layers,
    )


def _bounds(layers: int, stages: int) -> Ints:
    """(choices, stages + 1): the bounds of every way to cut a chain of layers into stages."""
    choices = comb(layers - 1, stages - 1)
    cuts = np.fromiter(
        chain.from_iterable(combinations(range(1, layers), stages - 1)),
        dtype=np.int64,
        count=choices * (stages - 1),
    )
    return np.pad(cuts.reshape(choices, stages - 1), ((0, 0), (1, 1)), constant_values=((0, 0), (0, layers)))
