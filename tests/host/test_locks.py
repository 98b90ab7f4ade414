"""The lock of this machine."""

from __future__ import annotations

from pipeline.host.locks import machine_lock


def test_a_process_can_take_the_lock_twice() -> None:
    with machine_lock(), machine_lock():
        assert machine_lock().is_locked
    assert not machine_lock().is_locked
