"""One direction of a link between two devices, first come first served. Pure."""

from __future__ import annotations

from pipeline.domain.fleet import Link


class LinkQueue:
    """Carries one tensor at a time, for bytes ÷ bandwidth, and delivers it after a further latency."""

    __slots__ = ("_free_s", "_link", "name")

    def __init__(self, link: Link, sender: str, receiver: str) -> None:
        self._link = link
        self._free_s = 0.0
        """Time at which it can send the next tensor."""
        self.name = f"{sender}->{receiver}"

    def send(self, num_bytes: int, ready_s: float) -> tuple[float, float]:
        """Send a tensor that is ready at `ready_s`; returns the times of its begin and of its arrival."""
        start_s = ready_s if ready_s > self._free_s else self._free_s
        self._free_s = start_s + num_bytes / self._link.bandwidth_bytes_per_s
        return start_s, self._free_s + self._link.latency_s
