"""A plan as a JSON file: each run writes one, and `plan=FILE` runs it again. Shell."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pipeline.domain.checks import ConfigError, one_line, require
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.host.data_file import text_of
from pipeline.network.graph import Graph
from pipeline.planning.fitting import require_fits, require_layers


def plan_text(plan: Plan, model: str, fleet: str) -> str:
    """The file's text: the plan's fields, and the names of its model and fleet."""
    return json.dumps({"model": model, "fleet": fleet} | asdict(plan), indent=1) + "\n"


def stored_plan(path: Path, graph: Graph) -> Plan:
    """The plan in a file that `plan_text` wrote, for the layers of a graph.

    The file may be anybody's. Raises ConfigError, naming it, if it is missing, too large or not a plan file,
    or if it is for another number of layers.
    """
    _, plan = _read(path)
    require_layers(f"plan: {path}", plan, graph)
    return plan


def read_plan(file: str, graph: Graph, fleet: Fleet, compression: str) -> Plan:
    """The plan in a file that `plan_text` wrote, for a run's own model, devices and compression.

    Raises ConfigError as `stored_plan`, and if the file is for another model or another compression, or if
    the fleet lacks one of its devices; the line states the model and the fleet for which it is.
    """
    path = Path(file).expanduser()
    require(path.is_file(), f"plan: no such file ({path})")
    (model, fleet_name), plan = _read(path)
    made_for = f"; it was made for the model {model!r:.60} and the fleet {fleet_name!r:.60}: choose these"
    own = graph.name
    require(model == own, f"plan: {path} is for model {model!r:.60}, but this run has {own!r}{made_for}")
    require_fits(f"plan: {path}", plan, graph, fleet, compression, made_for)
    return plan


def _read(path: Path) -> tuple[tuple[str, str], Plan]:
    """The names of the model and the fleet for which a file is, and its plan."""
    try:
        fields = json.loads(text_of(path))
        names = str(fields.pop("model")), str(fields.pop("fleet"))
        return names, Plan(**fields)
    except ConfigError as error:
        raise ConfigError(f"plan: {path}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ConfigError(f"plan: {path} is not a plan file ({reason:.200})") from error
