"""The differences between the measurements here and the paper, and their causes, in sentences. Pure."""

from __future__ import annotations

import math

import pandas as pd

from pipeline.domain.energy import J_PER_KWH
from pipeline.results.paper.cells import UNKNOWN, Row, change, stated_change
from pipeline.results.paper.configurations import SHARES, SWITCH
from pipeline.results.paper.measured import by_configuration, models
from pipeline.results.paper.published import published_configurations
from pipeline.results.units import number


def differences(figures: pd.DataFrame, weights: pd.DataFrame) -> list[str]:
    """All differences.

    figures: columns as `measured.measured` returns them; weights: columns as `measured.switches` does.
    """
    found = []
    for model in models(figures):
        rows, papers = by_configuration(figures, model), published_configurations(model)
        base, green, paper_base = rows.get("monolithic"), rows.get("ce_green"), papers.get("monolithic")
        if base is None or green is None or paper_base is None:
            continue
        paper_green, balanced = papers.get("ce_green"), rows.get("ce_balanced")
        of_model = [
            _latency(base, green, paper_base, paper_green),
            _carbon(base, green, paper_green),
            _carbon_by_host(base, green),
            _host_energy(base, paper_base),
            "" if balanced is None else _placement(balanced),
        ]
        found += [f"{model}: {sentence}" for sentence in of_model if sentence]
    return [*found, *filter(None, [_switch(weights)])]


def _latency(base: Row, green: Row, paper_base: Row, paper_green: Row | None) -> str:
    here, there = (
        change(one, other, "latency_ms_mean") for one, other in ((green, base), (paper_green, paper_base))
    )
    return (
        f"monolithic takes {number(base['latency_ms_mean'])} ms here and "
        f"{number(paper_base['latency_ms_mean'])} ms there "
        f"(×{base['latency_ms_mean'] / paper_base['latency_ms_mean']:.2f}): another host and "
        f"runtime. CE-Green's latency is {here} here, {there} there: a node of 0.4 CPU takes 1.5 times "
        "as long as one of 0.6 where a quota acts; in the paper it hardly did."
    )


def _carbon(base: Row, green: Row, paper_green: Row | None) -> str:
    return (
        f"CE-Green's carbon is {change(green, base, 'carbon_g_per_inf')} per device against the paper's "
        f"{stated_change(paper_green)}. At equal energy the intensities alone change it by "
        f"{380 / 530 - 1:+.1%}; the rest of the paper's change is its host's energy per inference, which our "
        "accounting, per device, leaves out."
    )


def _carbon_by_host(base: Row, green: Row) -> str:
    by_host = change(green, base, "host_g_per_inf")
    if by_host == UNKNOWN:
        return ""
    return (
        f"by the paper's accounting CE-Green's carbon is {by_host} here: the host works "
        "for as long as the slower node takes, however little of it that node uses."
    )


def _host_energy(base: Row, paper_base: Row) -> str:
    host_j = base.get("host_j_per_inf")
    if host_j is None or not math.isfinite(host_j):
        return ""
    implied_j = paper_base["carbon_g_per_inf"] / paper_base["intensity_g_per_kwh"] * J_PER_KWH
    return (
        f"the host took {number(host_j)} J an inference here while monolithic ran, and the "
        f"paper's figures imply {number(implied_j)} J: that of a whole host, with "
        "everything else that it runs."
    )


def _placement(balanced: Row) -> str:
    if balanced["devices"] == SHARES["ce_balanced"]:
        return ""
    return (
        f"CE-Balanced chooses {balanced['devices']}, not {SHARES['ce_balanced']}. With "
        "shorter latencies than the paper's 270 ms, S_P spans less than S_C, whose scale depends on "
        "the unit of E_est (docs/numbers.md)."
    )


def _switch(weights: pd.DataFrame) -> str:
    own = weights[(weights["scheduler"] == "green") & (weights["devices"] == "node-green")]
    first = own["scheduler.carbon_weight"].min()
    if not len(own) or first == SWITCH:
        return ""
    return (
        f"The paper's scores switch to node-green at w_C = {first:g} here, not at {SWITCH:g}: the ranges "
        "of S_P and S_C follow execution times, and its other scores tie between idle nodes."
    )
