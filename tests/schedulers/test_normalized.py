"""Scaled scores: the effect of the carbon weight, and blocks against a loop over all devices."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.tasks import Assign
from schedulers.normalized import BLOCKS, FEW, Rows, best_of_all
from schedulers.weighted import scores
from tests.conftest import configured
from tests.schedulers.conftest import HONEST, TASK, paper_fleet, scaled_best, state_of


def test_the_carbon_weight_of_normalized_scores_moves_the_choice_all_the_way() -> None:
    """node-high is fastest and dirtiest, node-green slowest and cleanest: 1 and 0 of S_P, 0 and 1 of S_C.

    node-medium has .548 of S_P (1/1.0333 between 1/1.02 and 1/1.05) and .344 of S_C (.7081 between .6747 and
    .7719). Of green's other weights a fifth is S_P's, and the other scores are equal: node-high has
    (1 - w) / 5, node-green w, and node-medium, in between, is never first. They meet at w = 1/6.
    """
    state = state_of(paper_fleet(), HONEST)
    chosen = []
    for weight in (0.0, 0.1, 0.16, 0.17, 0.5, 1.0):
        decision = configured("scheduler", "normalized", carbon_weight=weight).decide(TASK, state)
        assert isinstance(decision, Assign)
        chosen.append(decision.device)
    assert chosen == ["node-high"] * 3 + ["node-green"] * 3


ROW = st.one_of(
    st.none(),
    st.tuples(*[st.sampled_from([0.0, 0.1, 0.25, 0.7, 1.0])] * 5),
    st.tuples(*[st.floats(-1, 1)] * 5),
)


@settings(max_examples=100, deadline=None)
@given(
    kinds=st.lists(ROW, min_size=1, max_size=6),
    picks=st.lists(st.integers(0, 5), min_size=1, max_size=4 * FEW),
    weights=st.tuples(*[st.sampled_from([0.0, 0.1, 0.5, 1.0])] * 5),
    changes=st.lists(st.tuples(st.integers(0, 4 * FEW - 1), st.integers(0, 5)), max_size=8),
    barred=st.sets(st.integers(0, 4 * FEW - 1), max_size=3),
    blocks=st.sampled_from([4, 64, BLOCKS]),
)
def test_blocks_find_what_a_look_at_every_row_finds(
    kinds: list[Any],
    picks: list[int],
    weights: Any,
    changes: list[tuple[int, int]],
    barred: set[int],
    blocks: int,
) -> None:
    """Many equal rows, so that the first of equals matters; in blocks of several rows, and of one each."""
    plain = [kinds[pick % len(kinds)] for pick in picks]
    with mock.patch("schedulers.normalized.BLOCKS", blocks):
        rows = Rows(plain)
    out = {index for index in barred if index < len(plain)}
    for at, pick in [(0, picks[0]), *changes]:
        index = at % len(plain)
        plain[index] = kinds[pick % len(kinds)]
        rows.put({index: plain[index]})
        left = [pair for pair in enumerate(plain) if pair[0] not in out]
        assert rows.best(weights) == best_of_all(list(enumerate(plain)), weights)
        assert rows.best(weights, out) == best_of_all(left, weights)


@pytest.mark.parametrize("lan_s", [0.01, 0.2, None])
@pytest.mark.parametrize("far", [0, 2, 30])
def test_normalized_in_a_fleet_of_300_of_which_some_are_far(far: int, lan_s: float | None) -> None:
    """Against a look at all, as tasks begin and end, and devices go and come; some lack the memory."""
    random = np.random.default_rng(far)
    devices = [
        Device(f"d{k}", 1e9, active_w=float(random.integers(1, 9)), intensity_g_per_kwh=100.0)
        for k in range(300)
    ]
    links = [] if lan_s is None else [Link("lan", 1e8, lan_s)]
    links += [
        Link(f"to d{k}", 1e8, 0.2 if k <= far else 0.05, between=("d0", f"d{k}")) for k in range(1, far + 3)
    ]
    times_s = {d.name: float(random.integers(1, 5)) / 10 for d in devices}
    state = state_of(Fleet("f", tuple(devices), tuple(links)), times_s, unfit=("d5", "d50"))
    normalized = configured("scheduler", "normalized", max_latency_s=0.1)
    for _ in range(50):
        task = TASK._replace(location=[None, "d0", "d1", "d70"][random.integers(4)])
        latencies = {d.name: state.link_latency_s(task, d.name) for d in state.in_order}
        near = {name for name, latency_s in latencies.items() if latency_s is not None and latency_s <= 0.1}
        able = [d for d in state.in_order if d.name in near and normalized.may_take(task, d)]
        decision = normalized.decide(task, state)
        chosen = decision.device if isinstance(decision, Assign) else None
        assert chosen == scaled_best(normalized.weights, [(d, scores(task, d)) for d in able])
        if chosen is not None:
            state.begin(task, chosen)
        some = state.in_order[random.integers(300)]
        if some.in_flight:
            state.end(task, some.name, float(random.choice([0.1, 0.2])))
        state.set_up(some.name, bool(random.integers(4)))
