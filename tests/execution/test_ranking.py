"""The tournament tree against sorting."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.execution.ranking import Ranking

KEYS = st.lists(st.sampled_from([0.0, 1.0, 2.5, -3.0, math.inf]), min_size=1, max_size=20)
CHANGES = st.lists(st.tuples(st.integers(0, 19), st.sampled_from([0.0, -1.0, 4.0, math.inf])), max_size=15)


@given(KEYS, CHANGES, st.sampled_from([-4.0, 0.0, 1.5, math.inf]))
def test_it_is_a_sorted_list_whatever_changes(
    keys: list[float], changes: list[tuple[int, float]], limit: float
) -> None:
    ranking = Ranking(keys)
    for place, key in changes:
        if place < len(keys):
            keys[place] = key
            ranking.set(place, key)
    places = [place for place in range(len(keys)) if keys[place] < math.inf]
    by_key = sorted(places, key=lambda place: (keys[place], place))
    assert list(ranking.ascending()) == by_key
    assert ranking.first() == (by_key[0] if by_key else None)
    for start in range(len(keys) + 2):
        within = [p for p in places if keys[p] <= limit and p >= start]
        assert ranking.first_within(limit, start) == min(within, default=None)
    assert [ranking.key(place) for place in range(len(keys))] == keys


def test_one_place() -> None:
    ranking = Ranking([2.0])
    assert (ranking.first(), ranking.first_within(1.0)) == (0, None)
    ranking.set(0, math.inf)
    assert ranking.first() is None
    assert ranking.key(0) == pytest.approx(math.inf)
