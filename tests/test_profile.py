"""Layer times add up to the model's; a kept profile is used again and only for what it was measured on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeProblem
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain import Device, Fleet
from pipeline.graph import Graph
from pipeline.models import ModelSpec
from pipeline.profile import Profile, Profiler, speed, split_times

SPEC = ModelSpec(name="mobilenet_v2", library="torchvision")


def test_starts_and_calls_are_told_apart_from_layers() -> None:
    # Medians: layers 3, 5, 7; the whole 13; three parts 15, so a start costs (15 - 13) / 2 = 1 and the layers
    # have 12; one by one they took 15, so a call costs 1.
    layer_s = [[3, 5, 7], [1, 9, 7], [4, 2, 7]]
    layers, task = split_times(layer_s, [13, 13, 30], [[5, 5, 5], [4, 6, 5], [9, 9, 9]])
    assert layers.tolist() == [2, 4, 6]
    assert task == 1


def test_no_time_is_below_nothing() -> None:
    # Two parts took less than the whole: no cost of a start. A call costs (10.5 - 6) / 3 = 1.5, more than the
    # first layer: 0, 3.5, 3.5 scaled from 7 to 6.
    layers, task = split_times([[0.5, 5, 5]], [6], [[2, 3]])
    assert layers.tolist() == pytest.approx([0, 3, 3])
    assert task == 0


TIMES = st.floats(1e-6, 1)


@given(
    layers=st.lists(TIMES, min_size=1, max_size=40),
    whole=TIMES,
    parts=st.lists(TIMES, min_size=1, max_size=4),
)
def test_layers_and_one_start_add_up_to_the_whole(
    layers: list[float], whole: float, parts: list[float]
) -> None:
    result, task = split_times([layers], [whole], [parts])
    assert result.sum() + task == pytest.approx(whole)
    assert (result >= 0).all()
    assert task >= 0


def test_speed_is_given_published_or_the_quota() -> None:
    device = Device("d", memory_bytes=1e9, active_w=5, zone="DE", cpu_quota=0.4)
    assert speed(device, 0.020) == 0.4
    assert speed(replace(device, reference_latency_s=0.010), 0.020) == 2.0
    assert speed(replace(device, reference_latency_s=0.010, speed=3.0), 0.020) == 3.0


def test_a_stage_is_a_start_and_its_layers(make_problem: MakeProblem, two_devices: Fleet) -> None:
    profile = make_problem(two_devices).profile
    assert profile.stage_s("fast", 1, 4) == pytest.approx(0.002 + 0.003 + 0.004 + 0.0005)
    assert profile.stage_s("clean", 1, 4) == pytest.approx(0.018 + 0.001)
    assert profile.stage_s("clean", 0, 6) == pytest.approx(0.042 + 0.001)


def test_measured_in_every_device_and_kept(tmp_path: Path, tiny_graph: Graph, two_devices: Fleet) -> None:
    profiler = Profiler(warmup=1, repeats=3, cache_dir=str(tmp_path))
    profile = profiler.profile(SPEC, tiny_graph, two_devices)
    table = profile.table
    assert table.groupby("device", sort=False).size().to_dict() == {"fast": 6, "clean": 6}
    assert (table["cpu_s"] >= 0).all()
    assert (table.groupby("device")["cpu_s"].sum() > 1e-5).all()
    speeds = table["device"].map({"fast": 1.0, "clean": 0.5})
    np.testing.assert_allclose(table["wall_s"], table["cpu_s"] / speeds)
    assert table["boundary_bytes"].tolist()[:4] == [768, 1024, 1024, 2048]
    assert table.loc[0, "param_bytes"] == (3 * 3 * 3 * 4 + 4) * 4

    assert set(profile.task_cpu_s) == {"fast", "clean"}
    assert 0 < profile.dispatch_s < 0.05

    again = profiler.profile(SPEC, tiny_graph, two_devices)
    assert again.table.equals(table)
    assert replace(again, table=table) == replace(profile, table=table)
    assert len(list(tmp_path.iterdir())) == 1

    faster = replace(
        two_devices, devices=(replace(two_devices.devices[0], speed=2.0), two_devices.devices[1])
    )
    profiler.profile(SPEC, tiny_graph, faster)
    replace(profiler, repeats=2).profile(SPEC, tiny_graph, two_devices)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_broken_file_is_measured_anew(tmp_path: Path, tiny_graph: Graph, two_devices: Fleet) -> None:
    profiler = Profiler(warmup=0, repeats=1, cache_dir=str(tmp_path))
    profiler.profile(SPEC, tiny_graph, two_devices)
    (kept,) = tmp_path.iterdir()
    kept.write_text(kept.read_text()[:100])
    profile = profiler.profile(SPEC, tiny_graph, two_devices)
    assert Profile.from_json(kept.read_text()).table.equals(profile.table)
