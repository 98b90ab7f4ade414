"""What one configuration gives back to a sweep. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrialResult:
    """What one configuration gives back to a sweep: its MLflow run and its metrics."""

    run_id: str
    name: str
    metrics: Mapping[str, float]
    labels: Mapping[str, str]
    """What people tell trials apart by: cuts, devices, partitioner, scheduler."""
    plan: Mapping[str, Any] | None = None
    """The fields of the Plan as it ran; None where a stage ran on several devices."""
    boundary: str = ""
    """What its carbon holds and what it leaves out."""
