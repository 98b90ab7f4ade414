"""One device's queue, first come first served. Pure."""

from __future__ import annotations

from collections import deque

from pipeline.execution.events.request import Request


class DeviceQueue:
    """The request that runs on a device, those that wait for it, and the device's outages."""

    __slots__ = ("life", "name", "outages", "running", "used", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.running: Request | None = None
        self.waiting: deque[Request] = deque()
        self.outages = 0
        """Number of outages in effect; they may overlap."""
        self.life = 0
        """Number of outages begun so far. A tensor that reached the device in an earlier life is lost."""
        self.used = False
        """Whether it has been given a stage to run."""

    def begin_outage(self) -> list[Request]:
        """Begin an outage and empty the queue; returns its requests, the running one first."""
        self.outages += 1
        self.life += 1
        lost = [*([] if self.running is None else [self.running]), *self.waiting]
        self.running = None
        self.waiting.clear()
        return lost

    def end_outage(self) -> bool:
        """End an outage; returns whether the device is up again, as no other outage is in effect."""
        self.outages -= 1
        return not self.outages
