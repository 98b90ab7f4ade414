"""A plan as a JSON file: each run writes one, and `plan=FILE` runs it again. Shell."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pipeline.domain.checks import ConfigError, require
from pipeline.domain.plan import Plan
from pipeline.planning.problem import Problem


def plan_text(plan: Plan, model: str, fleet: str) -> str:
    """The file's text: the plan's fields, and the names of its model and fleet."""
    return json.dumps({"model": model, "fleet": fleet} | asdict(plan), indent=1) + "\n"


def read_plan(file: str, problem: Problem) -> Plan:
    """The plan in a file that `plan_text` wrote, for the problem's model and devices.

    Raises ConfigError, naming the file, if it is missing or not a plan file, if it is for another model or
    another number of layers, or if the fleet lacks one of its devices.
    """
    path = Path(file).expanduser()
    require(path.is_file(), f"plan: no such file ({path})")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        model, _ = fields.pop("model"), fields.pop("fleet")
        whole = all(type(number) is int for name in ("bounds", "order") for number in fields.get(name, ()))
        if not whole or not all(isinstance(device, str) for device in fields["devices"]):
            raise TypeError("bounds and order must be whole numbers, devices names")
        plan = Plan(**fields)
    except ConfigError as error:
        raise ConfigError(f"plan: {path}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
        raise ConfigError(f"plan: {path} is not a plan file ({type(error).__name__}: {error})") from error
    graph = problem.graph
    require(model == graph.name, f"plan: {path} is for model {model!r}, but this run has {graph.name!r}")
    require(
        plan.bounds[-1] == len(graph),
        f"plan: {path} has {plan.bounds[-1]} layers, but {graph.name} has {len(graph)}",
    )
    for device in plan.devices:
        problem.fleet.require_device("plan", device)
    return plan
