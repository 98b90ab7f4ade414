"""The best single cut between two devices, by hand and by brute force."""

from __future__ import annotations

from dataclasses import replace

import pytest

from partitioners.neurosurgeon import OBJECTIVES, Neurosurgeon
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Link
from pipeline.domain.plan import Plan
from pipeline.planning.cost import predict
from tests.partitioners.conftest import (
    GRAPHS,
    arising_at,
    phone_and_cloud,
    random_pair,
)


@pytest.mark.parametrize(
    ("objective", "plan", "value"),
    [
        # Layers 0 to 3 and a start on the phone, 128 bytes, then the same with layers 4 and 5:
        # 3.2 + .5, 2, 1.01 + .5 = 7.21 ms. All on the phone takes 13.3 + .5 = 13.8 ms.
        ("latency_s", Plan((0, 4, 6), ("phone", "cloud")), 7.21e-3),
        # 12 ms for the input, 1.33 + .5 of work, 13.83 in all: 13.83 * 1 W + 1.83 * 9 W above idle. The phone
        # idles in no plan that leaves it out: the split above takes 2 * 7.21 + 5.21 * 9 mJ.
        ("energy_j", Plan((0, 6), ("cloud",)), 30.3e-3),
        # On a grid ten times cleaner the phone's 13.8 * 10 W = 138 mJ count as 13.8.
        ("carbon_g", Plan((0, 6), ("phone",)), 138e-3 * 30 / 3.6e6),
    ],
)
def test_neurosurgeon_by_hand(objective: str, plan: Plan, value: float) -> None:
    problem = replace(phone_and_cloud(), intensity_g_per_kwh={"phone": 30.0, "cloud": 300.0})
    assert Neurosurgeon("phone", "cloud", objective).partition(problem) == plan
    here = arising_at(problem, "phone")
    assert getattr(predict(here, [plan]), objective)[0] == pytest.approx(value)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(8))
def test_neurosurgeon_takes_the_best_single_split(objective: str, seed: int) -> None:
    problem = random_pair(GRAPHS["Fork"], seed)
    layers = len(problem.graph)
    plans = [Plan((0, layers), (name,)) for name in "ab"]
    plans += [Plan((0, cut, layers), ("a", "b")) for cut in range(1, layers)]
    values = getattr(predict(arising_at(problem, "a"), plans), objective)
    assert Neurosurgeon("a", "b", objective).partition(problem) == plans[int(values.argmin())]


def test_neurosurgeon_knows_when_not_to_split() -> None:
    # All on the phone takes 13.3 ms and .5 ms, all in the cloud 1.33 ms and .5 ms after 12 ms of sending.
    slow, quick = Link("radio", 64e3), Link("radio", 64e6)
    problem = phone_and_cloud()
    kept = replace(problem, fleet=replace(problem.fleet, links=(replace(slow, bandwidth_bytes_per_s=1e3),)))
    sent = replace(problem, fleet=replace(problem.fleet, links=(quick,)))
    assert Neurosurgeon("phone", "cloud").partition(kept).devices == ("phone",)
    assert Neurosurgeon("phone", "cloud").partition(sent).devices == ("cloud",)
    with pytest.raises(
        ConfigError, match="partitioner.objective: must be one of latency_s, energy_j, carbon_g"
    ):
        Neurosurgeon(objective="beauty")
