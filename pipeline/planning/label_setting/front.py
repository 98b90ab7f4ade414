"""Label setting: the front of a problem as arrays. Pure.

E. Martins, "On a multicriteria shortest path problem", EJOR 16 (1984), over the states (cut, current device):
a label is a partial plan with its costs and its use of resources so far. A label is discarded if another one
in the same state is nowhere worse, or if a known plan equals or beats even the lower bound of its
completions. The labels left at the last cut are the front: nothing is sampled or rounded.
"""

from __future__ import annotations

import numpy as np

from pipeline.planning.cost import Floats, Ints, Tables
from pipeline.planning.label_setting.look_ahead import LookAhead
from pipeline.planning.label_setting.passes import Pass
from pipeline.planning.label_setting.plan_arrays import Plans, joined, non_dominated
from pipeline.planning.label_setting.prices import Prices
from pipeline.planning.label_setting.rules import PlanRules

FEW = 33
"""Labels per device that a first, fast pass follows."""


def front_arrays(tables: Tables, objectives: tuple[str, ...], rules: PlanRules) -> tuple[Ints, Ints, Floats]:
    """Bounds (plans, stages + 1), device indices (plans, stages) and costs (plans, objectives) of the front.

    There may be no plans. A rule about all stages of a device together adds a column for each device to every
    comparison. So the search watches no device at first, and adds those whose rules its front breaks, until
    none is broken: a relaxed front that breaks no rule is the front. If there are such rules, a pass that
    follows few labels comes first: the better the known plans, the fewer labels the exact pass has to follow.
    Raises ConfigError if the search needs too many labels (`passes.MOST`).
    """
    prices = Prices(tables, objectives, rules)
    ahead = LookAhead.of(prices)
    known = _seeds(prices, ahead)
    watched = np.zeros(len(tables.names), dtype=bool)
    found = (*known, np.zeros((0, len(objectives))))
    has_joint_rules = rules.distinct or bool((prices.fits[:, 0] < prices.num_layers).any())
    for most in (FEW, None) if has_joint_rules else (None,):
        settled = False
        while not settled:
            plans = Pass(prices, ahead, known, watched).run(most)
            found = non_dominated(tables, objectives, *joined(known, plans))
            broken = rules.broken(tables, *found[:2])
            settled = not broken.any()
            obey = ~broken.any(axis=1)
            known = non_dominated(tables, objectives, *joined(known, (found[0][obey], found[1][obey])))[:2]
            watched = watched | broken.any(axis=0)
    return found


def _seeds(prices: Prices, ahead: LookAhead) -> Plans:
    """The best of the plans of one or two stages and of `LookAhead.guesses` that obey all rules."""
    n, count, rules = prices.num_layers, prices.num_devices, prices.rules
    device = np.arange(count)
    cut, a, b = (x.ravel() for x in np.meshgrid(np.arange(1, n), device, device))
    cut, a, b = cut[a != b], a[a != b], b[a != b]
    singles = np.tile([0, n], (count, 1)), device[:, None]
    splits = np.stack([np.zeros_like(cut), cut, np.full_like(cut, n)], axis=1), np.stack([a, b], axis=1)
    bounds, where = joined(singles, splits, *ahead.guesses)
    allowed = ~rules.broken(prices.tables, bounds, where).any(axis=1)
    if rules.max_stages is not None:
        allowed &= (bounds[:, 1:] > bounds[:, :-1]).sum(axis=1) <= rules.max_stages
    bounds, where, _ = non_dominated(prices.tables, prices.objectives, bounds[allowed], where[allowed])
    return bounds, where
