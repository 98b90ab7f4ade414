"""The links of a fleet."""

from __future__ import annotations

from pipeline.domain.fleet import Device, Fleet, Link


def test_the_first_link_of_two_devices_counts_and_the_shared_one_connects_the_rest() -> None:
    devices = tuple(Device(name, memory_bytes=1e9, active_w=5, intensity_g_per_kwh=1) for name in "abc")
    first, second = (Link(name, 1e8, 0.01, between=("a", "b")) for name in ("first", "second"))
    lan = Link("lan", 1e7, 0.02)
    fleet = Fleet("f", devices, (first, second, lan))
    assert fleet.link("a", "b") is fleet.link("b", "a") is first
    assert fleet.link("c", "a") is lan
    assert (set(fleet.linked("a")), set(fleet.linked("c"))) == ({"b"}, set())
    alone = Fleet("f", devices, (first,))
    assert (alone.link("b", "a"), alone.link("a", "c"), alone.link("c", "b")) == (first, None, None)
