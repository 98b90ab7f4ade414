"""The records of a run: one row for each task and transfer, and one row for each request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import pandas as pd
import torch

from pipeline.domain.checks import utc

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

kind is compute, transfer or rejected; device is the device that computed, or `from->to` of a transfer;
status is ok, failed, or lost (the device is gone, and the task goes elsewhere). Times are seconds from the
run's start. queued_s is when the task became ready: of a request's first stage, when the request arose.
deadline_s is the time from then within which the request was to be answered (infinite: none). cpu_s is CPU
seconds (at the host speed of the profile, see Profile); bytes are those that a transfer moved.
"""


@dataclass(frozen=True)
class Records:
    """What happened in a run: the narrow waist between backends and everything after them."""

    table: pd.DataFrame
    start_utc: datetime
    window_s: float
    """Length of the run on the clock of the table, over which reserved devices draw idle power."""
    reserved: tuple[str, ...]
    """Devices that were held for this run."""
    measurement: str
    """measured, emulated or simulated."""
    outputs: tuple[torch.Tensor, ...] = ()
    """The model's answer to each request that succeeded, in request order; empty if not computed."""
    scheduling_s: tuple[float, ...] = ()
    """Wall seconds of each scheduler decision."""
    host_drift: float | None = None
    """This host's time for the reference model now ÷ when profiled, divided out of the table."""
    host_late: float | None = None
    """Time for which other work on this host held stages up ÷ the run's time, left out of the table."""

    def about(self) -> dict[str, Any]:
        """What accounting needs beside the table, as JSON can hold it."""
        return {
            "start_utc": self.start_utc.isoformat(),
            "window_s": self.window_s,
            "reserved": list(self.reserved),
            "measurement": self.measurement,
        }

    @classmethod
    def of(cls, table: pd.DataFrame, about: Mapping[str, Any]) -> Self:
        """Records from their table and what `about` said."""
        return cls(
            table, utc("start_utc", about["start_utc"]), about["window_s"], tuple(about["reserved"]),
            about["measurement"],
        )  # fmt: skip


def request_latency_s(records: Records) -> pd.Series:
    """Seconds from a request's arrival to its answer, by request, of those that were answered."""
    requests = by_request(records)
    return requests.loc[~requests["failed"], "latency_s"]


def by_request(records: Records) -> pd.DataFrame:
    """One row a request: model, tenant, deadline_s, latency_s, whether it failed, was rejected."""
    table = records.table
    about = table.assign(
        failed=(table["status"] == "failed").to_numpy(), rejected=(table["kind"] == "rejected").to_numpy()
    )
    found = about.groupby("request").agg(
        model=("model", "first"),
        tenant=("tenant", "first"),
        deadline_s=("deadline_s", "first"),
        begin_s=("queued_s", "min"),
        end_s=("end_s", "max"),
        failed=("failed", "any"),
        rejected=("rejected", "any"),
    )
    return found.assign(latency_s=found["end_s"] - found["begin_s"])
