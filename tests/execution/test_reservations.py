"""Reserved times of devices, against a plain list of them."""

from __future__ import annotations

import numpy as np

from pipeline.domain.tasks import Slot
from pipeline.execution.reservations import Reservations


def plain_first_free(slots: list[Slot], at_s: float, seconds: float) -> float:
    """The first time that overlaps none: `at_s`, or the end of a slot."""
    return min(
        begin
        for begin in (at_s, *(slot.end_s for slot in slots if slot.end_s > at_s))
        if all(slot.end_s <= begin or begin + seconds <= slot.begin_s for slot in slots)
    )


def test_slots_come_and_go() -> None:
    random = np.random.default_rng(1)
    for _ in range(30):
        reservations, held = Reservations(), dict[int, Slot]()
        for request in range(60):
            if held and random.random() < 0.3:
                gone = int(random.choice(list(held)))
                del held[gone]
                reservations.replace(gone, ())
                assert reservations.of(gone) == ()
            at_s, seconds = float(random.integers(0, 100)), float(random.integers(1, 9))
            begin_s = reservations.first_free_s("d", at_s, seconds)
            assert begin_s == plain_first_free(list(held.values()), at_s, seconds)
            held[request] = Slot(0, "d", begin_s, begin_s + seconds)
            reservations.replace(request, (held[request],))
            assert reservations.of(request) == (held[request],)
        for request in held:
            reservations.replace(request, ())
        assert reservations.first_free_s("d", 0.0, 1e9) == 0.0
    assert reservations.first_free_s("another", 7.0, 1.0) == 7.0
