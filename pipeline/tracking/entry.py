"""A pending run as it is kept on disk, and what a file must hold to be one. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from pipeline.domain.checks import is_finite_number, require
from pipeline.host.processes import is_identity
from pipeline.results.metric_values import require_metric, require_metrics
from pipeline.tracking.datasets import Dataset

PARENT_TAG = "mlflow.parentRunId"
"""Tag of a trial: the run id of its sweep, under which MLflow's UI shows it."""
REFUSED = "refused"
"""Subfolder of an outbox for runs that the store rejects for good."""
STATUSES = ("RUNNING", "FINISHED", "FAILED", "KILLED", "")
MetricPoint = tuple[str, float, int, int]
"""One value of a metric: key, value, time in ms since 1970, step."""


@dataclass(frozen=True)
class Entry:
    """Everything about a run except its artifacts, which are files beside it."""

    run_id: str
    """If `in_store`, the run's id in MLflow; else the value of its tags REQUEST_TAG and KEY_TAG."""
    uri: str
    """The store to which it goes, without a password."""
    experiment_id: str
    name: str
    start_ms: int
    """Start of the run, in ms since 1970."""
    owner: Sequence[Any]
    """Identity of the process that writes the run (`pipeline.host.processes`)."""
    in_store: bool = False
    """Whether MLflow has the run already."""
    status: str = "RUNNING"
    """MLflow's status; empty for tags that are added to a run later and do not change its status."""
    end_ms: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    known_params: Sequence[str] = ()
    """Names of the params that the store has: their values cannot change."""
    metrics: Sequence[MetricPoint] = ()
    inputs: Sequence[Mapping[str, str]] = ()
    """The fields of each Dataset that the run used."""
    shared: bool = False
    """Whether other processes may write to the same run, as they may to a sweep's."""
    untag: Sequence[str] = ()
    """Tags that the run loses when it is sent."""
    register: str = ""
    """Name under which the run's model is registered; empty: it is not."""
    held_back: bool = False
    """Whether the run waits until its sweep's study has recorded the trial; unrecorded trials are rerun."""

    def __post_init__(self) -> None:
        good = is_id(self.run_id) and self.run_id != REFUSED
        require(good, f"an entry's run_id must be letters, digits, _ or - ({self.run_id!r})")

    @property
    def folder(self) -> str:
        """Name of the run's folder in the outbox; each process has its own for a shared run."""
        return f"{self.run_id}-{self.owner[1]}" if self.shared else self.run_id

    @property
    def parent_run_id(self) -> str | None:
        """Run id of the sweep, for a trial."""
        return self.tags.get(PARENT_TAG)


def is_id(text: str) -> bool:
    """Whether a text can name a run, and so a folder."""
    return re.fullmatch(r"[\w-]+", text) is not None


def read_entry(text: str) -> Entry:
    """The entry that a JSON text holds, which may be anybody's.

    Raises ConfigError naming a field that is missing, unknown or of another kind, or a metric that cannot be;
    ValueError or RecursionError for what is no JSON.
    """
    found = json.loads(text)
    require(isinstance(found, dict), "it must be a mapping")
    require(found.keys() <= _KINDS.keys(), f"unknown fields {sorted(found.keys() - _KINDS.keys())}")
    needed = {each.name for each in fields(Entry) if each.default is each.default_factory is MISSING}
    for name in sorted(needed | found.keys()):  # an earlier version may lack fields that have a default
        require(name in found and _KINDS[name](found[name]), f"its {name} is missing or of another kind")
    points = [tuple(point) for point in found.get("metrics", ())]
    for key, value, *_ in points:
        require_metric("its metrics", key, value)
    in_order = sorted(points, key=lambda point: (point[3], point[2], point[1]))  # MLflow shows the last
    require_metrics("its metrics", {key: value for key, value, *_ in in_order})
    end_ms = found.get("end_ms")
    require(end_ms is None or end_ms >= found["start_ms"], "its end_ms is before its start_ms")
    return Entry(**found | {"metrics": points})


def _text(value: Any) -> bool:
    """Whether it is a text that can be sent: JSON may hold halves of characters, which UTF-8 cannot."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, (*value, *value.values())))


def _list_of(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_right, value))


def _point(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 4:
        return False
    key, number, at_ms, step = value
    return is_finite_number(number) and _text(key) and _whole(at_ms) and _whole(step)


def _dataset(value: Any) -> bool:
    return _texts(value) and value.keys() == {each.name for each in fields(Dataset)}


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("run_id", "uri", "experiment_id", "name", "register"), _text),
    **dict.fromkeys(("in_store", "shared", "held_back"), _flag),
    **dict.fromkeys(("tags", "params"), _texts),
    **dict.fromkeys(("known_params", "untag"), _list_of(_text)),
    "start_ms": _whole,
    "end_ms": lambda value: value is None or _whole(value),
    "status": STATUSES.__contains__,
    "owner": is_identity,
    "metrics": _list_of(_point),
    "inputs": _list_of(_dataset),
}
"""By field of an entry: whether a value is of its kind."""
