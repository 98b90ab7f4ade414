"""A plan as a JSON file: each run writes one, and `plan=FILE` runs it again. Shell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.domain.checks import ConfigError, one_line, require
from pipeline.domain.plan import Plan
from pipeline.host.data_file import text_of
from pipeline.network.graph import Graph
from pipeline.planning.problem import Problem


def plan_text(plan: Plan, model: str, fleet: str) -> str:
    """The file's text: the plan's fields, and the names of its model and fleet."""
    return json.dumps({"model": model, "fleet": fleet} | asdict(plan), indent=1) + "\n"


def stored_plan(path: Path, graph: Graph) -> tuple[str, Plan]:
    """The plan in a file that `plan_text` wrote, for the layers of a graph, and the name of its model.

    The file may be anybody's. Raises ConfigError, naming it, if it is missing, too large or not a plan file,
    or if it is for another number of layers.
    """
    try:
        fields = json.loads(text_of(path))
        model, _ = fields.pop("model"), fields.pop("fleet")
        _require_kinds(fields)
        plan = Plan(**fields)
    except ConfigError as error:
        raise ConfigError(f"plan: {path}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ConfigError(f"plan: {path} is not a plan file ({reason:.200})") from error
    require(
        plan.bounds[-1] == len(graph),
        f"plan: {path} has {plan.bounds[-1]} layers, but {graph.name} has {len(graph)}",
    )
    return str(model), plan


def _require_kinds(fields: Mapping[str, Any]) -> None:
    """Raise TypeError unless the fields of a plan are lists of whole numbers, and of names."""
    for name, kind in (("bounds", int), ("order", int), ("devices", str)):
        values = fields.get(name, [])
        if not isinstance(values, list) or not all(type(value) is kind for value in values):
            raise TypeError("bounds and order must be whole numbers, devices names")


def read_plan(file: str, problem: Problem) -> Plan:
    """The plan in a file that `plan_text` wrote, for the problem's model and devices.

    Raises ConfigError as `stored_plan`, and if the file is for another model, or if the fleet lacks one of
    its devices.
    """
    path = Path(file).expanduser()
    require(path.is_file(), f"plan: no such file ({path})")
    model, plan = stored_plan(path, problem.graph)
    own = problem.graph.name
    require(model == own, f"plan: {path} is for model {model!r:.60}, but this run has {own!r}")
    for device in plan.devices:
        problem.fleet.require_device("plan", device)
    return plan
