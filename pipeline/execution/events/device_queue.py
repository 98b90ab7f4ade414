"""One device's queue, first come first served. Pure."""

from __future__ import annotations

from collections import deque

from pipeline.execution.events.request import Request


class DeviceQueue:
    """The request whose stage a device runs, those that wait for the device, and the device's outages."""

    __slots__ = ("life", "outages", "running", "waiting")

    def __init__(self) -> None:
        self.running: Request | None = None
        self.waiting: deque[Request] = deque()
        self.outages = 0
        """Outages in effect; they may overlap."""
        self.life = 0
        """Outages begun so far. A tensor that came to the device in an earlier life is lost."""

    def begin_outage(self) -> list[Request]:
        """Empty the queue; returns what was in it, the running request first."""
        self.outages += 1
        self.life += 1
        lost = [*([] if self.running is None else [self.running]), *self.waiting]
        self.running = None
        self.waiting.clear()
        return lost

    def end_outage(self) -> bool:
        """Whether the device is up again: no other outage is in effect."""
        self.outages -= 1
        return not self.outages
