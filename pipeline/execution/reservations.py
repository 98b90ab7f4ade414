"""The times for which a scheduler has reserved devices. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from pipeline.domain.tasks import Slot

GAP_S = 1e-6
"""Shorter gaps between reserved times come from rounding and are treated as none."""


class Reservations:
    """The slots of each request. Slots on one device do not overlap; the scheduler sees to it."""

    def __init__(self) -> None:
        self._slots: dict[int, tuple[Slot, ...]] = {}
        self._calendars: dict[str, _Calendar] = {}

    def of(self, request: int) -> tuple[Slot, ...]:
        """The slots of a request."""
        return self._slots.get(request, ())

    def replace(self, request: int, slots: tuple[Slot, ...]) -> None:
        """Give a request these slots in place of those that it has."""
        for slot in self._slots.pop(request, ()):
            self._calendars[slot.device].remove(slot.begin_s, slot.end_s)
        if slots:
            self._slots[request] = slots
            for slot in slots:
                self._calendars.setdefault(slot.device, _Calendar()).add(slot.begin_s, slot.end_s)

    def first_free_s(self, device: str, at_s: float, seconds: float) -> float:
        """The first time from `at_s` on from which a device is not reserved for so many seconds."""
        calendar = self._calendars.get(device)
        return at_s if calendar is None else calendar.first_free_s(at_s, seconds)


class _Calendar:
    """The reserved times of one device, in order; adjacent ones are one, so that there are few."""

    def __init__(self) -> None:
        self._begins: list[float] = []
        self._ends: list[float] = []

    def first_free_s(self, at_s: float, seconds: float) -> float:
        place = bisect_right(self._ends, at_s)
        while place < len(self._begins) and self._begins[place] < at_s + seconds:
            at_s = self._ends[place]
            place += 1
        return at_s

    def add(self, begin_s: float, end_s: float) -> None:
        place = bisect_left(self._begins, begin_s)
        left = place > 0 and begin_s - self._ends[place - 1] < GAP_S
        right = place < len(self._begins) and self._begins[place] - end_s < GAP_S
        if left:
            place -= 1
            begin_s = self._begins[place]
        if right:
            end_s = self._ends[place + left]
        self._put(place, place + left + right, [(begin_s, end_s)])

    def remove(self, begin_s: float, end_s: float) -> None:
        place = bisect_right(self._begins, begin_s + GAP_S) - 1
        rest = [(self._begins[place], begin_s), (end_s, self._ends[place])]
        self._put(place, place + 1, [(begin, end) for begin, end in rest if end - begin >= GAP_S])

    def _put(self, first: int, last: int, blocks: list[tuple[float, float]]) -> None:
        self._begins[first:last] = [begin for begin, _ in blocks]
        self._ends[first:last] = [end for _, end in blocks]
