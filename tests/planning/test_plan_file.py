"""A plan goes through a file and comes back the same; a file of something else is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.planning.plan_file import plan_text, read_plan, stored_plan
from tests.conftest import MakeProblem


@pytest.mark.parametrize(
    "plan",
    [
        Plan((0, 6), ("fast",)),
        Plan((0, 2, 6), ("fast", "clean"), compression="int8"),
        Plan((0, 3, 6), ("clean", "fast"), order=(0, 1, 2, 3, 4, 5)),
    ],
)
def test_it_comes_back_the_same(
    tmp_path: Path, make_problem: MakeProblem, two_devices: Fleet, plan: Plan
) -> None:
    problem = make_problem(two_devices)
    file = tmp_path / "plan.json"
    file.write_text(plan_text(plan, problem.graph.name, "pair"))
    assert read_plan(str(file), problem.graph, problem.fleet, plan.compression) == plan


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model": "huge"}, "is for model 'huge', but this run has"),
        ({"bounds": [0, 2, 7]}, "has 7 layers, but .* has 6"),
        ({"bounds": [0, 6, 2]}, "bounds must rise"),
        (
            {"devices": ["fast", "gone"]},
            "plan: .*plan.json: unknown device 'gone' .*; it was made for the model 'tiny' and the",
        ),
        ({"devices": ["fast"]}, "needs a device"),
        ({"colour": "red"}, "is not a plan file"),
        ({"compression": "zip"}, "compression"),
        ({"compression": "int8"}, "has compression int8, but this run has float32: choose compression=int8$"),
        ({"bounds": [0, 2.5, 6]}, "bounds must be whole numbers"),
        ({"bounds": [False, 2, 6]}, "bounds must be whole numbers"),
        ({"devices": [{}, "fast"]}, "devices must be a list of names"),
        ({"devices": "fast"}, "devices must be a list of names"),
        ({"bounds": {"0": 1}}, "bounds must be whole numbers"),
        ({"bounds": [0, 10**9], "devices": ["fast"]}, "has 1000000000 layers, but .* has 6"),
        (
            {"bounds": [0, 10**9], "devices": ["fast"], "order": [1]},
            r"order must hold each of the 1000000000 layers once \(order: \(1,\)\)$",
        ),
        ({"bounds": list(range(1000, 0, -1))}, r"\(bounds: \(1000, 999, .{,200} \.\.\.\)$"),
    ],
)
def test_another_models_or_fleets_is_refused(
    tmp_path: Path, make_problem: MakeProblem, two_devices: Fleet, change: dict[str, object], complaint: str
) -> None:
    problem = make_problem(two_devices)
    fields = json.loads(plan_text(Plan((0, 2, 6), ("fast", "clean")), problem.graph.name, "pair"))
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(fields | change))
    with pytest.raises(ConfigError, match=complaint):
        read_plan(str(file), problem.graph, problem.fleet, "float32")


def test_a_pipe_or_a_device_is_not_read(
    tmp_path: Path, make_problem: MakeProblem, two_devices: Fleet
) -> None:
    """A pipe without a writer would block for ever, and /dev/zero has no end."""
    problem = make_problem(two_devices)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for name in ("pipe.json", "zero.json"):
        with pytest.raises(ConfigError, match=rf"^plan: .*{name} is not a regular file$"):
            stored_plan(tmp_path / name, problem.graph)
    (tmp_path / "large.json").write_bytes(b" " * 10_000_001)
    with pytest.raises(ConfigError, match=r"^plan: .*large.json: it holds more than 10\.0 MB unpacked$"):
        stored_plan(tmp_path / "large.json", problem.graph)


@pytest.mark.parametrize("text", ["", "[1]", "{}", "no json", "[" * 100_000])
def test_what_is_no_plan_is_named(
    tmp_path: Path, make_problem: MakeProblem, two_devices: Fleet, text: str
) -> None:
    problem = make_problem(two_devices)
    with pytest.raises(ConfigError, match="plan: no such file"):
        read_plan(str(tmp_path / "plan.json"), problem.graph, problem.fleet, "float32")
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ConfigError, match=r"plan: .*plan.json is not a plan file"):
        read_plan(str(tmp_path / "plan.json"), problem.graph, problem.fleet, "float32")
