"""Settings that several partitioners share: the devices of a split, and values that are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from partitioners.balanced import Balanced
from partitioners.bottleneck import Bottleneck
from partitioners.dads import Dads
from partitioners.green import Green
from partitioners.neurosurgeon import Neurosurgeon
from partitioners.random import Random
from partitioners.settings import local_and_remote
from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet, Link
from tests.conftest import MakeProblem
from tests.partitioners.conftest import (
    board,
    phone_and_cloud,
)


@pytest.mark.parametrize(
    ("changes", "named", "devices"),
    [
        ({}, (None, None), ("a", "c")),  # the first, and the fastest other
        ({"monolithic": "b"}, (None, None), ("b", "c")),
        ({"monolithic": "b", "source": "c"}, (None, None), ("c", "a")),
        ({"monolithic": "b", "source": "c"}, ("a", None), ("a", "c")),
        ({"monolithic": "b", "source": "c"}, (None, "c"), ("b", "c")),  # the source is taken
        ({"source": "a"}, (None, "a"), ("b", "a")),
        ({"links": (Link("ab", 1e8, between=("a", "b")),)}, (None, None), ("a", "b")),  # c cannot be reached
        ({"links": ()}, (None, None), ("a", "c")),
        ({"devices": (board("a"),)}, (None, None), ("a", None)),
    ],
)
def test_a_split_is_between_the_source_and_the_fastest_other(
    changes: dict[str, Any],
    named: tuple[str | None, str | None],
    devices: tuple[str, str | None],
    make_problem: MakeProblem,
) -> None:
    boards = tuple(replace(board(name), speed=speed) for name, speed in (("a", 1.0), ("b", 0.5), ("c", 2.0)))
    fleet = replace(Fleet("three", boards, (Link("lan", 1e8),)), **changes)
    assert local_and_remote(make_problem(fleet), *named) == devices


@pytest.mark.parametrize("kind", [Neurosurgeon, Dads])
def test_a_split_refuses_what_are_not_two_devices(kind: type[Neurosurgeon | Dads]) -> None:
    problem = phone_and_cloud()
    assert kind().partition(problem).devices == ("phone", "cloud")
    alone = Fleet("alone", (board("phone"),))
    for fleet, named, message in (
        (problem.fleet, ("pi9", None), r"partitioner.local: unknown device 'pi9'.*phone, cloud"),
        (problem.fleet, (None, "pi9"), r"partitioner.remote: unknown device 'pi9'.*phone, cloud"),
        (problem.fleet, ("cloud", "cloud"), r"partitioner.remote: must not be the local device \(cloud\)"),
        (alone, (None, "phone"), r"partitioner.remote: phone is the fleet's only device"),
    ):
        with pytest.raises(ConfigError, match=message):
            kind(*named).partition(replace(problem, fleet=fleet))


@pytest.mark.parametrize(
    ("kind", "setting", "value", "message"),
    [
        *(
            (Random, "seed", value, f"a whole number from 0 to {2**63 - 1}")
            for value in (-1, 1.0, True, "0", None)
        ),
        *((kind, "pin", value, "true or false") for kind in (Balanced, Green) for value in (1, "true", None)),
        *(
            (kind, "stages", value, "a whole number >= 1, or null")
            for kind in (Balanced, Green, Bottleneck, Random)
            for value in (0, 2.0, True, "2")
        ),
    ],
)
def test_settings_that_are_refused(kind: type, setting: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^partitioner.{setting}: must be {message} .*{value!r}\)$"):
        kind(**{setting: value})
