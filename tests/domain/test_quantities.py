"""Sizes, rates, times and powers with units: values worked out by hand, and texts that are refused."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Fleet
from pipeline.domain.quantities import plain, plain_values
from tests.conftest import ROOT

READ = [
    ("memory_bytes", "8 GB", 8e9),
    ("memory_bytes", "8GB", 8e9),
    ("memory_bytes", "512 MiB", 536870912),
    ("memory_bytes", "64 kB", 64000),
    ("memory_bytes", ".5 MB", 5e5),
    ("memory_bytes", "2e3 kilobytes", 2e6),
    ("memory_bytes", "512 Mbit", 64e6),
    ("bandwidth_bytes_per_s", "100 Mbit/s", 12.5e6),
    ("bandwidth_bytes_per_s", "100 Mb/s", 12.5e6),
    ("bandwidth_bytes_per_s", "100 Mbps", 12.5e6),
    ("bandwidth_bytes_per_s", "1 Gbps", 125e6),
    ("bandwidth_bytes_per_s", "56 kbps", 7000),
    ("bandwidth_bytes_per_s", "1 Mibps", 131072),
    ("bandwidth_bytes_per_s", "12.5 MB/s", 12.5e6),
    ("bandwidth_bytes_per_s", "1 MBps", 1e6),
    ("bandwidth_bytes_per_s", "36 MB/h", 1e4),
    ("latency_s", "5 ms", 0.005),
    ("latency_s", "30 us", 3e-5),
    ("latency_s", "30 µs", 3e-5),  # micro sign
    ("latency_s", "30 μs", 3e-5),  # Greek mu
    ("latency_s", "2 min", 120),
    ("reference_latency_s", "192.98 ms", 0.19298),
    ("idle_w", "350 mW", 0.35),
    ("active_w", "4.5 W", 4.5),
    ("active_w", "0.14 kW", 140),
    ("intensity_g_per_kwh", "450 g/kWh", 450),
    ("intensity_g_per_kwh", "0.45 kg/kWh", 450),
    ("intensity_g_per_kwh", "450 kg/MWh", 450),
    ("energy_j_per_byte", "0.06 kWh/GB", 2.16e-4),  # 0.06 x 3.6e6 J / 1e9
    ("energy_j_per_byte", "250 nJ/bit", 2e-6),
    ("energy_kwh_per_gb", "0.06 kWh/GB", 0.06),
    ("energy_kwh_per_gb", "27 nJ/bit", 6e-5),  # 27e-9 x 8e9 / 3.6e6
    ("embodied_kg", "20 kg", 20),
    ("embodied_kg", "0.02 t", 20),
    ("lifetime_years", "3 years", 3),
    ("lifetime_years", "36 months", 3),
    ("lifetime_years", "1461 days", 4),
]


@pytest.mark.parametrize(("key", "text", "value"), READ)
def test_a_text_is_the_number_to_the_last_digit(key: str, text: str, value: float) -> None:
    assert plain(f"fleet.devices.a.{key}", text) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [("memory_bytes", 8e9), ("idle_w", None), ("idle_w", float("inf")), ("pue", "1.2"), ("zone", "5 s")],
)
def test_other_values_and_other_keys_stay_as_they_are(key: str, value: object) -> None:
    assert plain(f"fleet.devices.a.{key}", value) is value


AMBIGUOUS = {
    "memory_bytes": (
        "8 KB", "8 K", "8 G", "8 Mb", "8 Kib", "8 mB", "8 mbit", "8 gb", "8 GBs", "8 dB", "8 GB/s", "8 kbps",
        "8 rad", "8 percent", "8 B/B", "8",
    ),
    "bandwidth_bytes_per_s": ("1 mbps", "1 mb/s", "1 Kbps", "1 mbit/s", "9 baud", "9 Hz", "1 GB", "1 MB/s/s"),
    "latency_s": ("5 m", "5 M", "5 S", "5 mS", "5 mmin", "5 Hz", "5 m s", "1:30", "5 ms/bit"),
    "active_w": ("5 Ws", "5 w", "30 dBm", "5 VA", "5 J", "5 Wh", "5 hp"),
    "intensity_g_per_kwh": ("450 g", "450 g/kW", "450 g/kWh/s", "450 g per kWh", "450 g/J/J"),
    "embodied_kg": ("20 ton", "20 mt", "20 lb", "20 W"),
    "lifetime_years": ("3 y", "3 W", "3 kyear"),
}  # fmt: skip
"""Of another kind, or what nobody means: 8 Mb are megabarn to pint, 1 mbit/s is a thousandth of a bit."""
HOSTILE = (
    "9**9**9 s", "9**9**9", "__import__('os') s", "__import__('os').abort()", "8 GB; rm", "8 GB\n", "8\nGB",
    "1e400 s", "1e999999999 s", "5 s" + "s" * 9_994, "9" * 10_000, "9" * 10_000 + " s", " " * 10_000,
    "5" + " " * 9_000 + "s",
    "٣ s", "5 ѕ", "5\u00a0ms", "8 parsec", "nan s", "inf s", "-inf s", "0x10 s", "1_000 s", "1,5 s",
    "5 s**2", "5 s^2",
    "5 s·s", "5 s*s", "5 s/", "/s", "5 //s", "5 s/s/s", "5 degC", "5 {s}", "5 $s", "${oc.env:HOME}", "", "s",
)  # fmt: skip


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in AMBIGUOUS.items() for text in texts])
def test_what_is_ambiguous_or_of_another_kind_is_refused(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"^fleet\.devices\.a\.{key}: must be a number in ") as refused:
        plain(f"fleet.devices.a.{key}", text)
    assert f"(it is {text!r})" in str(refused.value)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_one_short_line_at_once(text: str) -> None:
    plain("latency_s", "5 s")  # pint reads its units once
    began_s = time.process_time()
    with pytest.raises(ConfigError) as refused:
        plain("fleet.links.lan.latency_s", text)
    assert time.process_time() - began_s < 1
    line = str(refused.value)
    assert line.startswith(
        "fleet.links.lan.latency_s: must be a number in s or a text such as '5 ms' (it is "
    )
    assert "\n" not in line
    assert len(line) < 160


PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS = {
    "memory_bytes": {"B": 1.0, "bit": 0.125},
    "bandwidth_bytes_per_s": {"B/s": 1.0, "bit/s": 0.125, "b/s": 0.125, "bps": 0.125, "Bps": 1.0},
    "active_w": {"W": 1.0, "J/s": 1.0},
    "embodied_kg": {"g": 1e-3},
}


@given(
    number=st.floats(0, 1e20).map(repr),
    prefix=st.sampled_from([*PREFIXES]),
    unit=st.sampled_from([(key, unit) for key, units in UNITS.items() for unit in units]),
    space=st.sampled_from(["", " "]),
)
def test_a_number_times_its_unit(number: str, prefix: str, unit: tuple[str, str], space: str) -> None:
    key, name = unit
    assume(len(number.partition("e-")[2]) < 3)  # 1e-200 of anything is not meant, and refused
    expected = float(number) * PREFIXES[prefix] * UNITS[key][name]
    assert plain(key, f"{number}{space}{prefix}{name}") == pytest.approx(expected, rel=1e-12, abs=0)


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_one_line(text: str) -> None:
    found = ""
    try:
        assert isinstance(plain("fleet.devices.a.idle_w", text), float)
    except ConfigError as error:
        found = str(error)
    assert "\n" not in found


def test_ranges_are_read_and_what_is_no_mapping_is_left_for_others() -> None:
    known = {"idle_w", "ranges"}
    given_values = {"idle_w": "2 W", "odd_w": "2 W", "ranges": {"idle_w": ["1600 mW", 3], "pue": 5}}
    assert plain_values("fleet.devices.a", given_values, known) == {
        "idle_w": 2, "odd_w": "2 W", "ranges": {"idle_w": [1.6, 3], "pue": 5},
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"^fleet\.devices\.a\.ranges\.idle_w: must be a number in W or"):
        plain_values("fleet.devices.a", {"ranges": {"idle_w": ["1 m", 3]}}, known)
    assert plain_values("fleet.devices.a", "text", known) == "text"
    assert plain_values("fleet.devices.a", {"ranges": None}, known) == {"ranges": None}


def test_plain_numbers_do_not_load_pint() -> None:
    code = (
        "import sys; from pipeline.domain.fleet import Fleet; "
        "Fleet.of('f', {'a': {'memory_bytes': 1e9, 'active_w': 5, 'zone': 'FR'}}); "
        "sys.exit('pint' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_number_with_a_unit_has_the_same_limits() -> None:
    device = {"memory_bytes": "8 GB", "active_w": "5 W", "zone": "FR"}
    for key, text, complaint in (
        ("memory_bytes", "-8 GB", r"memory_bytes must be a number > 0 \(memory_bytes: -8000000000.0\)"),
        ("memory_bytes", "2 PB", r"memory_bytes must be at most 1e\+15"),
        ("active_w", "350 MW", r"active_w must be at most 1e\+06"),
        ("idle_w", "5001 mW", r"idle_w must be at most active_w, 5 \(idle_w: 5.001\)"),
        ("idle_watts", "5 W", r"unknown key 'idle_watts'"),
    ):
        with pytest.raises(ConfigError, match=rf"^fleet\.devices\.a: {complaint}"):
            Fleet.of("f", {"a": {**device, key: text}})
    with pytest.raises(ConfigError, match=r"^fleet: core_latency_s must be a number >= 1e-06"):
        Fleet.of("f", {"a": device}, core_latency_s="1 ns")
