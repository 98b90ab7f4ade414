"""A small network, a small fleet and a profile whose figures are easy to work with by hand."""

from __future__ import annotations

import atexit
import functools
import logging
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn

from pipeline.carbon.intensity import Intensity
from pipeline.domain.fleet import Device, Fleet, Link
from pipeline.domain.plan import Plan
from pipeline.domain.profile import Profile
from pipeline.domain.records import RECORD_COLUMNS, Records
from pipeline.execution.devices.pool import discard_pool
from pipeline.execution.job import Job, Service
from pipeline.execution.workloads.workload import Workload
from pipeline.network.graph import Graph
from pipeline.planning.problem import Problem

hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# As in a device's process. A second thread waits for the first wherever another process wants the core.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
EXHAUSTIVE = bool(os.environ.get("CARBONEDGE_EXHAUSTIVE"))
"""Whether `full` tests try all there is, as by `make exhaustive`, and not a part drawn by a fixed seed."""
SHARED = "CARBONEDGE_TESTS_SHARED"
"""Environment variable: a folder that all processes of a session of tests share. The first one removes it."""
if SHARED not in os.environ:
    os.environ[SHARED] = tempfile.mkdtemp(prefix="carbonedge-tests-")
    atexit.register(shutil.rmtree, os.environ[SHARED], ignore_errors=True)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo what Hydra configures where a test calls the app in this process: handlers, and a lower level."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@functools.cache
def shipped(folder: str = "") -> list[Path]:
    """The YAML files below a folder of conf/ that are the project's, without those that a user put there."""
    found = sorted((CONF / folder).rglob("*.yaml"))
    git = subprocess.run(["git", "ls-files", "-z", "conf"], cwd=ROOT, capture_output=True, text=True)
    ours = {ROOT / name for name in git.stdout.split("\0")}
    return [path for path in found if git.returncode or path in ours]


def choices(group: str) -> list[str]:
    """The members of a config group."""
    return [path.stem for path in shipped(group)]


def configured(group: str, name: str, **changes: Any) -> Any:
    """What a file of a config group builds."""
    config = OmegaConf.create({"repeat": 0, group: OmegaConf.load(CONF / group / f"{name}.yaml")})
    return instantiate(config[group], _convert_="all", **changes)


class Tiny(nn.Module):
    """Six layers: conv, relu, conv, add (a residual), flatten, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4 * 8 * 8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        z = self.second(y) + y
        logits: torch.Tensor = self.head(torch.flatten(z, 1))
        return logits


@pytest.fixture(scope="session")
def tiny_module() -> nn.Module:
    torch.manual_seed(7)
    return Tiny().eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_graph(tiny_module: nn.Module) -> Graph:
    graph = Graph.of(tiny_module, torch.zeros(1, 3, 8, 8), "tiny")
    assert len(graph.layers) == 6
    return graph


@pytest.fixture
def two_devices() -> Fleet:
    """fast: speed 1, 10 W idle, 30 W active, 600 g/kWh, PUE 1.5. clean: speed 0.5, 2 W, 12 W, 100 g/kWh."""
    fast = Device(
        "fast", memory_bytes=1e9, idle_w=10, active_w=30, speed=1.0, intensity_g_per_kwh=600, pue=1.5
    )
    clean = Device("clean", memory_bytes=1e9, idle_w=2, active_w=12, speed=0.5, intensity_g_per_kwh=100)
    link = Link("lan", bandwidth_bytes_per_s=1e6, latency_s=0.001, energy_j_per_byte=1e-6)
    return Fleet("two", (fast, clean), (link,))


CODECS = {
    "int8 encode": (4e-4, 1e-7),
    "int8 decode": (2e-4, 5e-8),
    "float16 encode": (2e-4, 5e-8),
    "float16 decode": (1e-4, 2.5e-8),
}

MakeProblem = Callable[[Fleet], Problem]


def stage_s(profile: Profile, device: str, begin: int, end: int) -> float:
    """Seconds of a stage without codecs, added up layer by layer."""
    rows = profile.table[profile.table["device"] == device].sort_values("layer")
    cpu_s = math.fsum(rows["cpu_s"].iloc[begin:end]) + profile.task_cpu_s[device]
    return cpu_s / profile.speeds[device]


@pytest.fixture
def make_problem(tiny_graph: Graph) -> MakeProblem:
    """The tiny graph, where layer k takes (k + 1) ms of CPU and a start .5 ms.

    A codec of int8 takes .4 ms + 100 ns a byte to encode and half of that to decode, of float16 half of both.
    """

    def make(fleet: Fleet) -> Problem:
        cpu_s = np.arange(1, 7) / 1000
        speeds = {device.name: device.speed or device.cpu_quota for device in fleet.devices}
        tables = [pd.DataFrame({"device": name, "layer": range(6), "cpu_s": cpu_s}) for name in speeds]
        profile = Profile(
            pd.concat(tables, ignore_index=True),
            speeds,
            reference_cpu_s=0.02,
            task_cpu_s=dict.fromkeys(speeds, 0.0005),
            codec_cpu_s=dict.fromkeys(speeds, CODECS),
        )
        intensity = {device.name: device.intensity_g_per_kwh or 0.0 for device in fleet.devices}
        return Problem(tiny_graph, fleet, profile, intensity)

    return make


def make_job(
    problem: Problem,
    plan: Plan,
    workload: Workload,
    inputs: Sequence[torch.Tensor] = (),
    **rest: Any,
) -> Job:
    """One service under its problem's intensities, from a fixed time on."""
    intensity = Intensity.constant(problem.intensity_g_per_kwh)
    start_utc = datetime(2030, 1, 1, tzinfo=UTC)
    settings: dict[str, Any] = {"intensity": intensity, "start_utc": start_utc} | rest
    return Job((Service(problem, plan, inputs),), workload, **settings)


@pytest.fixture(scope="session", autouse=True)
def _end_devices() -> Iterator[None]:
    yield
    discard_pool()
    atexit.unregister(discard_pool)


INTENSITY = Intensity.constant({"fast": 600.0, "clean": 100.0})


def record(
    request: int, stage: int, kind: str, device: str, start_s: float, end_s: float, **rest: Any
) -> Any:
    row = dict.fromkeys(RECORD_COLUMNS) | {"status": "ok", "reason": "", "bytes": 0, "cpu_s": 0.0}
    row |= {"tenant": "default", "model": "tiny", "deadline_s": math.inf}
    row |= {"request": request, "stage": stage, "kind": kind, "device": device, "queued_s": start_s}
    return row | {"start_s": start_s, "end_s": end_s, **rest}


def records(rows: list[Any], window_s: float, reserved: tuple[str, ...] = ("fast", "clean")) -> Records:
    table = pd.DataFrame(rows, columns=list(RECORD_COLUMNS))
    return Records(table, datetime(2030, 1, 1, tzinfo=UTC), window_s, reserved, "simulated")


TWO_STAGES = records(
    [
        record(0, 0, "compute", "fast", 0.0, 2.0),
        record(0, 1, "transfer", "fast->clean", 2.0, 3.0, bytes=4_000_000),
        record(0, 1, "compute", "clean", 3.0, 8.0),
    ],
    window_s=10.0,
)


@st.composite
def runs(draw: st.DrawFn) -> Records:
    rows = []
    now = 0.0
    for request in range(draw(st.integers(0, 6))):
        place = None
        for stage in range(draw(st.integers(1, 3))):
            device = draw(st.sampled_from(["fast", "clean"]))
            if place not in (None, device):
                moved = draw(st.integers(0, 10**9))
                rows.append(
                    record(request, stage, "transfer", f"{place}->{device}", now, now + 0.1, bytes=moved)
                )
            end = now + draw(st.floats(0, 100))
            rows.append(record(request, stage, "compute", device, now, end))
            now, place = end, device
    return records(rows, window_s=now)
