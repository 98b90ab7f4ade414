"""The settings that every backend has. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.checks import require_number, require_whole


@dataclass(frozen=True)
class BackendSettings:
    """CPU need of a task, and limits on requests. Raises ConfigError for a value out of range."""

    cpu_per_task: float = 0.1
    """CPUs that a task is assumed to need (AMP4EC: 0.1 to 0.2), for the scheduler's load."""
    max_requests: int = 10_000
    """Most requests in the fleet at once; further ones are rejected, so that overload stays bounded."""
    max_wait_s: float = 60.0
    """Seconds for which a task waits for a device before its request is rejected."""

    def __post_init__(self) -> None:
        require_number("backend", "cpu_per_task", self.cpu_per_task, least=0)
        require_whole("backend", "max_requests", self.max_requests, least=1)
        require_number("backend", "max_wait_s", self.max_wait_s, least=0)
