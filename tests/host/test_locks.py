"""The lock of this machine."""

from __future__ import annotations

from pipeline.host.locks import machine_lock


def test_who_measures_has_the_machine_alone_and_may_ask_again() -> None:
    with machine_lock(), machine_lock():
        assert machine_lock().is_locked
    assert not machine_lock().is_locked
