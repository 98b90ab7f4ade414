"""The result of one configuration, as a sweep reads it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.domain.checks import ConfigError, require
from pipeline.domain.plan import Plan


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

    @classmethod
    def checked(cls, owner: str, stored: Mapping[str, Any]) -> Self:
        """The result of which a study keeps the fields; metrics and the names of labels are not checked.

        Raises ConfigError naming the owner for a field that no sweep stores, TypeError for a missing one.
        """
        result = cls(**stored)
        texts = {"run_id": result.run_id, "name": result.name, "boundary": result.boundary}
        require(isinstance(result.labels, Mapping), f"{owner}: labels must be names and texts")
        for name, text in {**texts, **result.labels}.items():
            require(isinstance(text, str), f"{owner}: {name} must be a text ({text!r:.60})")
        if result.plan is not None:
            try:
                Plan(**result.plan)
            except ConfigError as error:
                raise ConfigError(f"{owner}: {error}") from error
        return result
