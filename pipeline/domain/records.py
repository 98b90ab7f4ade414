"""The records of a run: one row for each task and transfer, and one row for each request. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from pipeline.domain.checks import LARGEST, require, require_mapping, require_number, utc
from pipeline.domain.number_columns import with_numbers

if TYPE_CHECKING:
    import pandas as pd
    import torch

RECORD_COLUMNS = (
    "request",
    "tenant",
    "model",
    "deadline_s",
    "stage",
    "kind",
    "device",
    "queued_s",
    "start_s",
    "end_s",
    "cpu_s",
    "bytes",
    "status",
    "reason",
)
"""Columns of the records table, one row per task or transfer.

kind: compute, transfer or rejected. device: the device that computed, or `from->to` for a transfer. status:
ok, failed, or lost (the device failed, and the task runs elsewhere). Times are seconds from the run's start.
queued_s: when the task became ready; for a request's first stage, when the request arrived. deadline_s:
seconds from its arrival within which the request was to be answered (infinity: none). cpu_s: CPU seconds (at
the host speed of the profile, see Profile). bytes: moved by a transfer. reason: why a task failed.
"""


KINDS, STATUSES = ("compute", "transfer", "rejected"), ("ok", "failed", "lost")
TIMES = ("queued_s", "start_s", "end_s")
"""Columns of times, in the order in which they pass."""
MOST = {"request": 1e15, "stage": 1e9, "cpu_s": LARGEST["_s"], "bytes": LARGEST["_bytes"]}
"""The largest value of a column that can be meant."""
NO_INTERVAL = ("interval", math.inf)
"""In `run.json`: the interval of a profile of few passes (`Measurement.interval`)."""
ABOUT = ("start_utc", "window_s", "reserved", "measurement")
"""Keys of `Records.about`."""


@dataclass(frozen=True)
class Records:
    """The records of a run, which a backend returns for accounting, metrics and reports."""

    table: pd.DataFrame
    """Columns: RECORD_COLUMNS."""
    start_utc: datetime
    """Begin of the run: 0 s in the table."""
    window_s: float
    """Length of the run in seconds; reserved devices draw idle power for all of it."""
    reserved: tuple[str, ...]
    """Devices that ran a stage; `accounting.reserved=fleet` counts the fleet's others as reserved too."""
    measurement: str
    """measured, emulated or simulated."""
    outputs: tuple[torch.Tensor, ...] = ()
    """The model's answer to each request that succeeded, in request order; empty where none was computed."""
    scheduling_s: tuple[float, ...] = ()
    """Wall seconds of each scheduler decision."""
    host_drift: float | None = None
    """This host's time for the reference model in this run ÷ when profiled; the table is corrected for it."""

    @property
    def end_s(self) -> float:
        """End of the run, or of a part of it: of its last row, or of its window if that is later."""
        return max(self.window_s, float(self.table["end_s"].max()) if len(self.table) else 0.0)

    def about(self) -> dict[str, Any]:
        """The fields that accounting needs besides the table, as JSON values."""
        return {
            "start_utc": self.start_utc.isoformat(),
            "window_s": self.window_s,
            "reserved": list(self.reserved),
            "measurement": self.measurement,
        }

    @classmethod
    def of(cls, table: pd.DataFrame, about: Mapping[str, Any]) -> Self:
        """Records from their table (columns: RECORD_COLUMNS) and the result of `Records.about`.

        Raises ConfigError for a missing column or key, an invalid start_utc, and times that cannot be.
        """
        checked_about(about)
        missing = [name for name in RECORD_COLUMNS if name not in table]
        require(not missing, f"records: without the column {', '.join(missing)}")
        table = with_numbers("records", table, (*MOST, *TIMES, "deadline_s"))
        for name in ("kind", "device", "status"):
            texts = bool(table[name].map(lambda value: isinstance(value, str)).all())
            require(texts, f"records: {name} must be a text in every row")
        for name, known in (("kind", KINDS), ("status", STATUSES)):
            strange = sorted({*table[name].astype(str)} - {*known})
            require(not strange, f"records: {name} {', '.join(strange)[:60]} is unknown")
        _require_numbers(table, about["window_s"])
        _require_tasks(table, about["window_s"], about["reserved"])
        _require_answers(table, about["window_s"])
        return cls(
            table, utc("start_utc", about["start_utc"]), about["window_s"], tuple(about["reserved"]),
            about["measurement"],
        )  # fmt: skip


def _require_numbers(table: pd.DataFrame, window_s: float) -> None:
    """Raise ConfigError for a number that no run writes; times lie in its window, but for rounding."""
    number = {name: table[name].to_numpy(dtype=float, na_value=math.nan) for name in (*MOST, *TIMES)}
    latest_s = window_s * (1 + 1e-9)
    for name, values in number.items():
        most = MOST.get(name, latest_s)
        empty = (values != values) & (name in ("cpu_s", "bytes"))  # where none was computed or moved
        require(
            bool((empty | ((values >= 0) & (values < math.inf))).all()),
            f"records: {name} must be a number >= 0 in every row",
        )
        within = f"within the run's {window_s:g} s" if name in TIMES else f"at most {most:g}"
        require(bool((empty | (values <= most)).all()), f"records: {name} must be {within} in every row")
    for name in ("request", "stage"):
        require(bool((number[name] % 1 == 0).all()), f"records: {name} must be a whole number in every row")
    queued_s, start_s, end_s = (number[name] for name in TIMES)
    possible = bool((queued_s <= start_s + 1e-9 * window_s).all())
    require(possible, "records: each must begin no earlier than it is queued")
    require(bool((end_s >= start_s).all()), "records: each must end no earlier than it begins")
    deadline_s = table["deadline_s"].to_numpy(dtype=float, na_value=math.inf)  # infinite: none
    possible = bool(((deadline_s > 0) | (deadline_s != deadline_s)).all())
    require(possible, "records: deadline_s must be a number > 0, or infinite, in every row")


def _require_tasks(table: pd.DataFrame, window_s: float, reserved: Sequence[str]) -> None:
    """Raise ConfigError for a device that is not reserved, or runs several tasks at once."""
    answered = (table["kind"] == "rejected") & (table["status"] != "failed")
    require(not answered.any(), "records: status must be failed in every row of a rejected request")
    in_turn = table[table["kind"] == "compute"].sort_values(["start_s", "end_s"])
    device = in_turn["device"].astype(str)
    strange = sorted({*device} - {*reserved})
    require(not strange, f"records: {', '.join(strange)[:60]} computed, but is not reserved")
    at_once = device[in_turn["start_s"] < in_turn.groupby(device)["end_s"].shift() - 1e-9 * window_s]
    require(at_once.empty, f"records: {''.join(at_once[:1])} computes two tasks at once")


def _require_answers(table: pd.DataFrame, window_s: float) -> None:
    """Raise ConfigError for an answered request of which a stage of its model was not computed in order."""
    pairs = table[["request", "model"]].drop_duplicates()
    several = pairs["request"][pairs["request"].duplicated()].tolist()
    require(not several, f"records: request {several[:1]} has rows of several models")
    stages = table.groupby("model")["stage"].max() + 1
    done = table[(table["kind"] == "compute") & (table["status"] == "ok")]
    asked = table.assign(failed=(table["status"] == "failed").to_numpy()).groupby("request")
    requests = asked.agg(model=("model", "first"), failed=("failed", "any"))
    computed = done.groupby("request")["stage"].nunique().reindex(requests.index, fill_value=0)
    needed = requests["model"].map(stages)
    short = requests.index[~requests["failed"] & (computed != needed)]
    require(
        len(short) == 0,
        f"records: request {short[:1].tolist()} is answered without each stage of its model computed",
    )
    # A stage that an outage took back is computed again: the last time counts.
    last = done.sort_values("end_s").groupby(["request", "stage"])[["start_s", "end_s"]].last()
    earlier_s = last["end_s"].groupby("request").shift()
    early = last.index[last["start_s"] < earlier_s - 1e-9 * window_s]
    require(len(early) == 0, f"records: stage and request {early[:1].tolist()} begin before the stage before")


def checked_about(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mapping itself, if it is one that `Records.about` may have returned, with or without other keys.

    Raises ConfigError for a missing key and an impossible value.
    """
    missing = [name for name in ABOUT if name not in about]
    require(not missing, f"records: without the key {', '.join(missing)}")
    require_number("records", "window_s", about["window_s"], least=0)
    utc("start_utc", about["start_utc"])
    reserved, measurement = about["reserved"], about["measurement"]
    names = isinstance(reserved, list | tuple) and all(isinstance(name, str) for name in reserved)
    require(
        names and len({*reserved}) == len(reserved),
        f"records: reserved must be names of devices, each once (reserved: {reserved!r:.60})",
    )
    require(isinstance(measurement, str), f"records: measurement must be a text ({measurement!r:.60})")
    for group in ("grid", "meter", "profile", "software"):
        require_mapping(f"records: {group}", about.get(group, {}), "names to facts")
    stated = about.get("boundary", "")
    require(isinstance(stated, str), f"records: boundary must be a text ({stated!r:.60})")
    for group in about.keys() - {*ABOUT}:
        _require_figures("records", group, about[group])
    return about


def _require_figures(owner: str, key: str, value: Any) -> None:
    """Raise ConfigError naming owner and key for a number below 0 or too large, at any depth of a value."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            _require_figures(f"{owner}: {key}", str(name), each)
    elif isinstance(value, list):
        for each in value:
            _require_figures(owner, key, each)
    elif isinstance(value, int | float) and not isinstance(value, bool) and (key, value) != NO_INTERVAL:
        require_number(owner, key, value, least=0)


def request_latency_s(records: Records) -> pd.Series:
    """Seconds from arrival to answer, one value for each answered request; index: request."""
    requests = by_request(records)
    return requests.loc[~requests["failed"], "latency_s"]


def by_request(records: Records) -> pd.DataFrame:
    """One row a request; index: request.

    Columns: model, tenant, deadline_s, begin_s (arrival), end_s, failed and rejected (bool), latency_s.
    """
    table = records.table
    tasks = table.assign(
        failed=(table["status"] == "failed").to_numpy(), rejected=(table["kind"] == "rejected").to_numpy()
    )
    found = tasks.groupby("request").agg(
        model=("model", "first"),
        tenant=("tenant", "first"),
        deadline_s=("deadline_s", "first"),
        begin_s=("queued_s", "min"),
        end_s=("end_s", "max"),
        failed=("failed", "any"),
        rejected=("rejected", "any"),
    )
    return found.assign(latency_s=found["end_s"] - found["begin_s"])
