"""Layer times add up to the model's; a kept profile is used again and only for what it was measured on."""

from __future__ import annotations

from collections.abc import Sequence
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
from pipeline.profile import Profile, Profiler, layers_from_passes, speed

SPEC = ModelSpec(name="mobilenet_v2", library="torchvision")


def test_the_cost_of_calls_is_taken_out_layer_by_layer() -> None:
    # Three passes; the medians are 3, 5, 7 and the whole takes 12: each call costs (15 - 12) / 3 = 1.
    passes = [[3, 5, 7], [1, 9, 7], [4, 2, 7]]
    assert layers_from_passes(passes, [12, 12, 30]).tolist() == [2, 4, 6]


def test_a_layer_never_takes_less_than_nothing() -> None:
    # A call costs (10.5 - 6) / 3 = 1.5, more than the first layer: 0, 3.5, 3.5 scaled from 7 to 6.
    assert layers_from_passes([[0.5, 5, 5]], [6]).tolist() == pytest.approx([0, 3, 3])


@given(
    layers=st.lists(st.floats(1e-6, 1), min_size=1, max_size=40),
    whole=st.floats(1e-6, 40),
    seed=st.integers(0),
)
def test_layers_add_up_to_the_whole(layers: Sequence[float], whole: float, seed: int) -> None:
    result = layers_from_passes([layers], [whole])
    assert result.sum() == pytest.approx(whole)
    assert (result >= 0).all()


def test_speed_is_given_published_or_the_quota() -> None:
    device = Device("d", memory_bytes=1e9, active_w=5, zone="DE", cpu_quota=0.4)
    assert speed(device, 0.020) == 0.4
    assert speed(replace(device, reference_latency_s=0.010), 0.020) == 2.0
    assert speed(replace(device, reference_latency_s=0.010, speed=3.0), 0.020) == 3.0


def test_a_stage_is_the_sum_of_its_layers(make_problem: MakeProblem, two_devices: Fleet) -> None:
    profile = make_problem(two_devices).profile
    assert profile.stage_s("fast", 1, 4) == pytest.approx(0.002 + 0.003 + 0.004)
    assert profile.stage_s("clean", 1, 4) == pytest.approx(0.018)
    assert profile.stage_s("clean", 0, 6) == pytest.approx(0.042)


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

    again = profiler.profile(SPEC, tiny_graph, two_devices)
    assert again.table.equals(table)
    assert again.reference_cpu_s == profile.reference_cpu_s
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
