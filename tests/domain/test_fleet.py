"""The links of a fleet."""

from __future__ import annotations

import re

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet, Link

DEVICES = tuple(Device(name, memory_bytes=1e9, active_w=5, intensity_g_per_kwh=1) for name in "abc")


def test_two_devices_own_link_counts_and_the_shared_one_connects_the_rest() -> None:
    own, lan = Link("own", 1e8, 0.01, between=("a", "b")), Link("lan", 1e7, 0.02)
    fleet = Fleet("f", DEVICES, (own, lan))
    assert fleet.link("a", "b") is fleet.link("b", "a") is own
    assert fleet.link("c", "a") is lan
    assert (set(fleet.linked("a")), set(fleet.linked("c"))) == ({"b"}, set())
    alone = Fleet("f", DEVICES, (own,))
    assert (alone.link("b", "a"), alone.link("a", "c"), alone.link("c", "b")) == (own, None, None)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (("a", "b"), ("a", "b"), "a and b"),
        (("a", "b"), ("b", "a"), "b and a"),
        (None, None, "any two devices (they have no between)"),
    ],
)
def test_two_links_of_the_same_devices_are_refused(
    first: tuple[str, str] | None, second: tuple[str, str] | None, shared: str
) -> None:
    """The first one counted, and nothing was said of the other."""
    other, wired = Link("other", 1e6, between=("b", "c")), Link("wired", 1e8, between=first)
    complaint = f"fleet.links: wired and slow both connect {shared}; leave one out"
    with pytest.raises(ConfigError, match=f"^{re.escape(complaint)}$"):
        Fleet("f", DEVICES, (other, wired, Link("slow", 1e3, between=second)))


@pytest.mark.parametrize("value", [0, -1, 1e-300, float("nan"), "x"])
def test_a_core_that_cannot_be_meant_is_refused_by_its_own_key(value: float) -> None:
    device = Device("a", memory_bytes=1e9, active_w=5, intensity_g_per_kwh=1)
    with pytest.raises(
        ConfigError, match=r"^fleet: core_latency_s must be a number >= 1e-06 \(core_latency_s: "
    ):
        Fleet("f", (device,), core_latency_s=value)


def test_a_range_ends_where_it_can_be_meant() -> None:
    """Of 1e-305 W to 1e6 W, a run's bound was infinite."""
    with pytest.raises(ConfigError, match=r"^fleet.devices.a.ranges.active_w: must end within 1e\+09 times"):
        Device("a", 1e9, 1e-305, zone="FR", ranges={"active_w": [0, 1e6]})
