"""What repetitions show beyond chance: intervals of means, paired tests, dominance and the front. Pure.

Values are assumed to scatter normally around a configuration's mean. All statements of one kind about a sweep
(which dominate which; which are on the front) are right together with a chance of at least 95%: each is an
intersection of paired, one-sided t tests (Berger, "Multiparameter hypothesis testing and acceptance
sampling", Technometrics 24, 1982), and Holm's procedure allows for their number (Scandinavian Journal of
Statistics 6, 1979).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEVEL = 0.95
"""Coverage of an interval, and the least chance that all statements of one kind are right."""
SIGNS = 10_000
"""Number of sign combinations drawn for more pairs than ALL_SIGNS."""
ALL_SIGNS = 16
"""Most pairs for which all combinations of signs are tried."""


def interval(values: Floats) -> tuple[Floats, Floats]:
    """Low and high ends of the 95% interval of each column's mean, by Student's t: (columns,) each.

    values: (repetitions, columns), at least two repetitions. The ends are mean ± t * s / sqrt(n), with t the
    97.5% quantile for n - 1 degrees of freedom: 12.7 for two repetitions, 4.3 for three, 2.8 for five.
    """
    count = len(values)
    half = special.stdtrit(count - 1, (1 + LEVEL) / 2) * values.std(axis=0, ddof=1) / np.sqrt(count)
    mean = values.mean(axis=0)
    return mean - half, mean + half


def p_value(differences: Floats) -> float:
    """Two-sided p-value of the mean of paired differences: (pairs,).

    Fisher's randomisation test: the share of sign combinations whose mean is at least as far from 0. All
    combinations for up to ALL_SIGNS pairs; beyond, SIGNS random ones and the observed one, so that it is
    never 0 (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010). For n
    pairs it is at least 2 ** (1 - n), so three pairs cannot show much. `scipy.stats.permutation_test` gives
    the same for up to ALL_SIGNS pairs; beyond, it draws other signs.
    """
    count = len(differences)
    if count <= ALL_SIGNS:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        drawn = np.random.default_rng(0).choice([-1, 1], (SIGNS, count))
        signs = np.concatenate([np.ones((1, count), dtype=drawn.dtype), drawn])
    means = np.abs(signs @ differences)
    return float(np.mean(~(means < abs(differences.sum()) * (1 - 1e-9))))  # 1 if a difference is NaN


def dominance(costs: Floats) -> Bools:
    """(configurations, configurations): whether a dominates b beyond chance.

    costs: (repetitions, configurations, objectives), minimised; NaN where a configuration lacks a repetition
    or a value. [a, b] is true if a's mean is shown to be below b's in each objective. Objectives in which the
    two are equal in every repetition do not count, unless all are.
    """
    found = np.ones((costs.shape[1],) * 2)
    for a, row in enumerate(found):
        p, equal = _below(costs, a)
        row[:] = np.where(equal.all(axis=1), 1.0, np.where(equal, 0.0, p).max(axis=1))
    others = ~np.eye(len(found), dtype=bool)
    shown = np.zeros(found.shape, dtype=bool)
    shown[others] = holm(found[others])
    return shown


def on_front(costs: Floats) -> Bools:
    """(configurations,): whether it is shown beyond chance that no other configuration dominates one.

    costs: as `dominance` takes them. For each other configuration there must be an objective in which the
    mean is shown to be below the other's; Bonferroni's factor allows for the choice of the objective. A
    configuration that is equal in every objective and repetition does not dominate.
    """
    found = np.zeros(costs.shape[1])
    for a in range(len(found)):
        p, equal = _below(costs, a)
        found[a] = np.where(equal.all(axis=1), 0.0, p.min(axis=1) * p.shape[1])[np.arange(len(p)) != a].max(
            initial=0.0
        )
    return holm(found)


def holm(p_values: Floats) -> Bools:
    """(tests,): which null hypotheses Holm's step-down procedure rejects; p_values: (tests,)."""
    order = np.argsort(p_values, kind="stable")
    limits = (1 - LEVEL) / np.arange(len(order), 0, -1)
    rejected = np.zeros(len(order), dtype=bool)
    rejected[order] = np.logical_and.accumulate(p_values[order] <= limits)
    return rejected


def _below(costs: Floats, a: int) -> tuple[Floats, Bools]:
    """p-values of the hypotheses that a's mean is not below another's, and whether the two are equal.

    Both are (configurations, objectives). Pairs are repetitions that both have; with fewer than two of them p
    is 1. A difference that is the same in every repetition is taken as certain.
    """
    more = costs - costs[:, [a]]
    count = np.isfinite(more).sum(axis=0)
    pairs = np.maximum(count, 2)
    mean = np.nansum(more, axis=0) / pairs
    error = np.sqrt(np.nansum((more - mean) ** 2, axis=0) / (pairs - 1) / pairs)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = special.stdtr(pairs - 1, -mean / error)
    p = np.where(error > 0, p, np.where(mean > 0, 0.0, 1.0))
    known = count >= 2
    return np.where(known, p, 1.0), known & (mean == 0) & (error == 0)
