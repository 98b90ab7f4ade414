"""Label setting: the front of a problem as arrays. Pure.

E. Martins, "On a multicriteria shortest path problem", EJOR 16 (1984), over the states (cut, current device):
a label is a partial plan with its costs and its use of resources so far. A label is discarded if another one
in the same state is nowhere worse, or if a known plan equals or beats even the lower bound of its
completions. The labels left at the last cut are the front: nothing is sampled or rounded.

A rule about all stages of a device together adds a column for each device to every comparison, and so does
the total time of a link. So a pass watches only some of them, and prices each use of any other alone. That is
never too much, so each plan of the front is equalled or beaten, at those prices, by a plan that the pass
finds. Passes watch more and more, until no plan that breaks a rule or costs more than its price is left that
could be better than the known plans: then the known plans are the front.

The period is the largest sum over a device or a link. Where each device holds one stage, the largest stage or
transfer so far tells all that a completion needs to know. Where devices may return, the seconds of every
device are columns of their own: a completion adds the same seconds to both labels, so a label whose sums are
nowhere larger stays nowhere worse.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.planning.cost import Floats, Ints, Tables
from pipeline.planning.label_setting.by_period import plans_by_period, searches_by_period
from pipeline.planning.label_setting.look_ahead import LookAhead
from pipeline.planning.label_setting.passes import Pass
from pipeline.planning.label_setting.plan_arrays import Plans, joined, non_dominated
from pipeline.planning.label_setting.prices import Prices
from pipeline.planning.label_setting.rules import Bools, PlanRules

FEW = 33
"""Labels per device that a first, fast pass follows."""
FEW_RETURNING = 100
"""The same where devices may return and the period counts."""
ROUNDING = 1e-12
"""Share by which sums of the same figures in another order may differ."""


def front_arrays(tables: Tables, objectives: tuple[str, ...], rules: PlanRules) -> tuple[Ints, Ints, Floats]:
    """Bounds (plans, stages + 1), device indices (plans, stages) and costs (plans, objectives) of the front.

    There may be no plans. If there are joint rules, a pass that follows few labels comes first: the better
    the known plans, the fewer labels the exact pass has to follow.
    Raises ConfigError if the search needs too many labels (`labels.MOST`).
    """
    prices = Prices(tables, objectives, rules)
    if searches_by_period(prices):
        return non_dominated(tables, objectives, *plans_by_period(prices))
    ahead = LookAhead.of(prices)
    known = _seeds(prices, ahead)
    has_period, returning = "period_s" in objectives, bool(prices.loads)
    if returning:
        known = joined(known, front_arrays(tables, objectives, replace(rules, distinct=True))[:2])
    watched = np.full(len(tables.names), has_period and rules.distinct)
    has_joint_rules = rules.distinct or bool((prices.fits[:, 0] < prices.num_layers).any())
    few = FEW_RETURNING if returning else FEW
    # The plans under the limits on the period are known from the start, so no fast pass is needed for them.
    has_fast_pass = returning or (has_joint_rules and not has_period)
    for most in (few, None) if has_fast_pass else (None,):
        settled = False
        while not settled:
            plans, priced = Pass(prices, ahead, known, watched).run(most)
            broken = rules.broken(tables, *plans)
            obey = ~broken.any(axis=1)
            found = non_dominated(tables, objectives, *joined(known, (plans[0][obey], plans[1][obey])))
            known = found[:2]
            hopeful = ~_equalled(priced, found[2])
            links = _underpriced_links(prices, (plans[0][hopeful], plans[1][hopeful]), priced[hopeful])
            if links:
                prices = Prices(tables, objectives, rules, [*prices.links, *links])
                ahead = LookAhead.of(prices)
            watched = watched | broken[hopeful].any(axis=0)
            settled = not links and not broken[hopeful].any()
    return found


def _equalled(priced: Floats, costs: Floats) -> Bools:
    """(plans,): whether one of the known costs (known, objectives) is nowhere above a plan's prices."""
    most = priced * (1 + ROUNDING)
    return np.array([bool(np.all(costs <= row, axis=1).any()) for row in most], dtype=bool)


def _underpriced_links(prices: Prices, plans: Plans, priced: Floats) -> list[tuple[int, int]]:
    """The links (from, to) that a plan uses for longer than the period that it was priced at."""
    if not prices.loads or not len(priced):
        return []
    period_s = priced[:, prices.objectives.index("period_s"), None, None]
    slow = prices.tables.loads(*plans)[1] > period_s * (1 + ROUNDING)
    return [(int(sender), int(receiver)) for sender, receiver in np.argwhere(slow.any(axis=0))]


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
