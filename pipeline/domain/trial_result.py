"""The result of one configuration, as a sweep reads it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrialResult:
    """The result of one configuration: its MLflow run, its metrics and its plan."""

    run_id: str
    name: str
    metrics: Mapping[str, float]
    """Values by metric key (`pipeline.results.metric_keys`)."""
    labels: Mapping[str, str]
    """The trial in readable form: cuts, devices, partitioner, scheduler."""
    plan: Mapping[str, Any] | None = None
    """The fields of the Plan as it ran; None where a stage ran on several devices."""
    boundary: str = ""
    """The emissions that the carbon includes, and those that it leaves out."""
