"""A kept profile is used again, and only for the model, devices and host that it was measured on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.fleet import Device, Fleet
from pipeline.domain.profile import LEAST_ERROR, Profile
from pipeline.execution.devices.pool import DevicePool
from pipeline.execution.devices.profile_fit import HOST
from pipeline.execution.devices.profiler import Profiler, speed
from pipeline.network.graph import Graph
from pipeline.network.models.spec import ModelSpec
from tests.conftest import MakeProblem

SPEC = ModelSpec(name="mobilenet_v2", library="torchvision")


@pytest.fixture(autouse=True)
def _small_reference(monkeypatch: pytest.MonkeyPatch, tiny_graph: Graph) -> None:
    """Probes of MobileNetV2 would take most of the time."""
    monkeypatch.setattr("pipeline.execution.devices.profiler.reference_graph", lambda model: tiny_graph)


def test_speed_is_given_published_or_the_quota() -> None:
    device = Device("d", memory_bytes=1e9, active_w=5, zone="DE", cpu_quota=0.4)
    assert speed(device, 0.020) == 0.4
    assert speed(replace(device, reference_latency_s=0.010), 0.020) == 2.0
    assert speed(replace(device, reference_latency_s=0.010, speed=3.0), 0.020) == 3.0


def test_a_codec_takes_its_line_over_the_speed(make_problem: MakeProblem, two_devices: Fleet) -> None:
    profile = make_problem(two_devices).profile
    sizes = np.array([0, 1000])
    assert profile.encode_s("fast", "int8", sizes) == pytest.approx([4e-4, 5e-4])
    assert profile.encode_s("clean", "int8", sizes) == pytest.approx([8e-4, 10e-4])
    assert profile.decode_s("clean", "float16", 1000) == pytest.approx(2 * (1e-4 + 2.5e-5))
    assert profile.encode_s("fast", "float32", sizes).tolist() == [0, 0]
    bare = replace(profile, codec_cpu_s={})
    assert bare.decode_s("fast", "float32", 1000) == 0
    with pytest.raises(ConfigError, match="compression: the profile has no time for int8 decode on clean"):
        bare.decode_s("clean", "int8", 1000)


def test_reordered_rows_are_the_same_layers_under_new_numbers(
    make_problem: MakeProblem, two_devices: Fleet
) -> None:
    profile = make_problem(two_devices).profile
    moved = profile.reordered((0, 2, 1, 3, 5, 4))
    rows = moved.table[moved.table["device"] == "clean"]
    assert rows["layer"].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows["cpu_s"].tolist() == [0.001, 0.003, 0.002, 0.004, 0.006, 0.005]
    assert moved.cumulative_s("clean")[[1, 2]] == pytest.approx([0.002, 0.008])
    assert moved.reordered((0, 2, 1, 3, 5, 4)).table.equals(profile.table)
    assert replace(moved, table=profile.table) == profile
    with pytest.raises(ConfigError, match="order: must hold each of the 6 layers"):
        profile.reordered((0, 1, 2))


@pytest.mark.parametrize(
    ("cpu_s", "complaint"),
    [
        ([1, 2, np.nan, 4, 5, 6], "profile of clean, layer 2: cpu_s must be a number >= 0 .cpu_s: nan."),
        ([1, 2, 3, 4, -5, 6], "profile of clean, layer 4: cpu_s must be a number >= 0 .cpu_s: -5.0."),
        ([1, 2, 3, np.inf, 5, 6], "profile of clean, layer 3"),
        ([0] * 6, "profile of clean: its layers must take more than 0 s together"),
    ],
)
def test_bad_times_are_refused(
    make_problem: MakeProblem, two_devices: Fleet, cpu_s: list[float], complaint: str
) -> None:
    profile = make_problem(two_devices).profile
    table = profile.table.copy()
    table.loc[table["device"] == "clean", "cpu_s"] = np.array(cpu_s, dtype=float)
    with pytest.raises(ConfigError, match=complaint):
        replace(profile, table=table)
    table.loc[table["device"] == "clean", "cpu_s"] = [0, 1, 0, 0, 0, 0]
    assert replace(profile, table=table).cumulative_s("clean")[1] == 0
    with pytest.raises(ConfigError, match="profile of fast: task_cpu_s must be a number >= 0"):
        replace(profile, task_cpu_s={"clean": 0.1})


def test_speeds_refer_to_the_core_that_the_fleet_states() -> None:
    """A core that takes 40 ms where this host takes 20 is half as fast; a published time stays what it is."""
    device = Device("d", memory_bytes=1e9, active_w=5, zone="DE", cpu_quota=0.4)
    assert speed(device, 0.020, 0.040) == 0.2
    assert speed(replace(device, speed=3.0), 0.020, 0.040) == 1.5
    assert speed(replace(device, reference_latency_s=0.010), 0.020, 0.040) == 2.0


@pytest.mark.parametrize(
    "bad",
    [
        {"variation": {"fast": [1.0, np.nan]}},
        {"variation": {"fast": [-1.0]}},
        {"error": {"fast": np.nan}},
        {"codec_cpu_s": {"fast": {"int8 encode": [0.1, np.nan]}}},
        {"codec_cpu_s": {"fast": {"int8 encode": [0.1, -1.0]}}},
        {"codec_cpu_s": {"fast": {"int8 encode": [math.inf, 0.1]}}},
        {"variation": {"fast": [math.inf]}},
        {"error": {"fast": -1.0}},
        {"error": {"fast": math.inf}},
        {"task_cpu_s": {"fast": 1e300, "clean": 0.1}},
        {"reference_cpu_s": 0.0},
        {"reference_cpu_s": 1e300},
        {"speeds": {"fast": math.inf, "clean": 1.0}},
    ],
)
def test_what_no_measurement_gives_is_refused(
    make_problem: MakeProblem, two_devices: Fleet, bad: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"profile"):
        replace(make_problem(two_devices).profile, **bad)


def test_measured_once_for_all_devices_and_kept(
    tmp_path: Path, tiny_graph: Graph, two_devices: Fleet
) -> None:
    profiler = Profiler(warmup=1, repeats=3, cache_dir=str(tmp_path))
    profile = profiler.profile(SPEC, tiny_graph, two_devices)
    table = profile.table
    assert table["device"].tolist() == [HOST] * 6
    assert (table["cpu_s"] >= 0).all()
    assert table["cpu_s"].sum() > 1e-5
    assert profile.speeds == {"fast": 1.0, "clean": 0.5}
    np.testing.assert_allclose(profile.cumulative_s("clean"), 2 * profile.cumulative_s("fast"))
    assert profile.start_s("clean") == 2 * profile.start_s("fast") == 2 * profile.task_cpu_s[HOST]
    assert table["boundary_bytes"].tolist()[:4] == [768, 1024, 1024, 2048]
    assert table.loc[0, "param_bytes"] == (3 * 3 * 3 * 4 + 4) * 4

    assert profile.prediction_error(["fast", "clean"]) == max(LEAST_ERROR, profile.error[HOST])
    assert profile.measured is not None
    assert 3 <= profile.measured.passes <= 9
    assert profile.measured.processor
    for compression in ("float16", "int8"):
        for name in ("fast", "clean"):
            assert 0 < profile.encode_s(name, compression, 1000) < 0.01
            assert 0 < profile.decode_s(name, compression, 1000) < 0.01

    again = profiler.profile(SPEC, tiny_graph, two_devices)
    assert again.table.equals(table)
    assert replace(again, table=table) == replace(profile, table=table)
    assert len(list(tmp_path.iterdir())) == 1

    # Another fleet has the same measurement, another method does not.
    faster = replace(
        two_devices, devices=(replace(two_devices.devices[0], name="f", speed=2.0), two_devices.devices[1])
    )
    other = profiler.profile(SPEC, tiny_graph, faster)
    assert other.table.equals(table)
    assert other.speeds == {"f": 2.0, "clean": 0.5}
    replace(profiler, repeats=2).profile(SPEC, tiny_graph, two_devices)
    assert len(list(tmp_path.iterdir())) == 2


def test_two_hundred_devices_are_measured_in_no_more_processes_than_cores(
    tiny_graph: Graph, two_devices: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tuple(replace(two_devices.devices[0], name=f"d{k}", speed=0.5 + k % 3) for k in range(200))
    fleet = replace(two_devices, devices=many, links=())
    started: list[list[str]] = []

    def pool(names: Sequence[str], patience_s: float) -> DevicePool:
        started.append([*names])
        return DevicePool(names, patience_s)

    monkeypatch.setattr("pipeline.execution.devices.profiler.DevicePool", pool)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    profile = Profiler(warmup=0, repeats=1, cache_dir=None).profile(SPEC, tiny_graph, fleet)
    assert started == [["first"]]
    assert len(profile.table) == 6
    assert profile.speeds["d199"] == 0.5 + 199 % 3


@pytest.mark.full
def test_a_profile_is_of_several_processes_and_its_interval_over_them(
    tiny_graph: Graph, two_devices: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes of one process resemble each other: their number says little."""
    started: list[DevicePool] = []

    def pool(names: Sequence[str], patience_s: float) -> DevicePool:
        started.append(DevicePool(names, patience_s))
        return started[-1]

    monkeypatch.setattr("pipeline.execution.devices.profiler.DevicePool", pool)
    monkeypatch.setattr("pipeline.execution.devices.profiler.PASSES", 2)
    monkeypatch.setattr("pipeline.execution.devices.profiler.MAX_INTERVAL", 10.0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    profile = Profiler(warmup=0, repeats=4, cache_dir=None).profile(SPEC, tiny_graph, two_devices)
    assert len(started) == 2
    assert not any(pool.alive() for pool in started)
    assert profile.measured is not None
    assert profile.measured.passes == 4
    assert 0 < profile.measured.interval < 10


@pytest.mark.full
def test_the_reference_model_takes_its_published_time(tiny_graph: Graph, two_devices: Fleet) -> None:
    """As it is profiled, and whatever the load of this host is."""
    published = replace(two_devices.devices[0], speed=None, reference_latency_s=0.01052)
    fleet = replace(two_devices, devices=(published,))
    profile = Profiler(warmup=0, repeats=2, cache_dir=None).profile(SPEC, tiny_graph, fleet)
    assert profile.cumulative_s("fast")[-1] + profile.start_s("fast") == pytest.approx(0.01052)


def test_a_broken_file_is_measured_anew(
    tmp_path: Path, tiny_graph: Graph, two_devices: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiler = Profiler(warmup=0, repeats=1, cache_dir=str(tmp_path))
    measured = profiler.measure(tiny_graph, two_devices.reference_model)
    times = 0

    def measure(*about: object) -> Profile:
        nonlocal times
        times += 1
        return measured

    monkeypatch.setattr(Profiler, "measure", measure)
    profiler.profile(SPEC, tiny_graph, two_devices)
    (kept,) = tmp_path.iterdir()
    whole = json.loads(kept.read_text())
    rows = whole["table"].splitlines(keepends=True)
    broken = [
        kept.read_text()[:100],
        "[]",
        json.dumps(whole | {"table": "".join(rows[:-1])}),
        json.dumps(whole | {"table": "".join([*rows[:-1], rows[-2]])}),
        json.dumps(whole | {"measured": None}),
        json.dumps(whole | {"error": {}}),
        json.dumps(whole | {"reference_cpu_s": float("nan")}),
    ]
    for text in broken:
        kept.write_text(text)
        profile = profiler.profile(SPEC, tiny_graph, two_devices)
        assert Profile.from_json(kept.read_text()).table.equals(profile.table)
        assert profile.table["layer"].tolist() == [*range(6)]
    assert times == 1 + len(broken)


@pytest.mark.full
def test_a_profile_that_is_far_off_says_so(
    tiny_graph: Graph, two_devices: Fleet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.execution.devices.profiler.MAX_ERROR", 0.0)  # which no measurement attains
    Profiler(warmup=0, repeats=2, cache_dir=None).profile(SPEC, tiny_graph, two_devices)
    warnings = [record for record in caplog.records if record.levelname != "INFO"]
    assert [record.levelname for record in warnings] == ["WARNING"]
    assert "profile of tiny: the times of stages that it was not fitted to" in caplog.text


@pytest.mark.parametrize("folder", ["/proc/none", "{tmp}/file/below", ""])
def test_a_folder_that_cannot_be_written_is_refused_before_the_measurement(
    folder: str, tmp_path: Path, tiny_graph: Graph, two_devices: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Profiler, "measure", lambda *_: pytest.fail("measured"))
    with pytest.raises(ConfigError, match=r"^profiler\.cache_dir: must be a folder"):
        Profiler(cache_dir=folder.format(tmp=tmp_path)).profile(SPEC, tiny_graph, two_devices)


def test_a_disk_that_fails_after_the_measurement_does_not_lose_it(
    tmp_path: Path,
    tiny_graph: Graph,
    two_devices: Fleet,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("pipeline.execution.devices.profiler.write_atomically", full)
    profiler = Profiler(warmup=0, repeats=1, cache_dir=str(tmp_path))
    assert profiler.profile(SPEC, tiny_graph, two_devices).measured is not None
    line = caplog.records[-1].getMessage()
    assert line.startswith("the profile of tiny is not kept: ")
    assert line.endswith("(No space left on device)")
