"""What a run was fed: the same content the same digest, and each part's files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from pipeline.carbon.grids.static import Static
from pipeline.carbon.grids.trace import Trace
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import Plan
from pipeline.execution.job import Service
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.execution.workloads.replay import Replay
from pipeline.network.images import ImageFolder, Photographs
from pipeline.tracking.datasets import datasets
from tests.conftest import MakeProblem


def test_files_pictures_and_profiles_are_told_by_their_content(
    make_problem: MakeProblem, two_devices: Fleet, tmp_path: Path
) -> None:
    problem = make_problem(two_devices)
    plan = Plan((0, len(problem.graph)), (two_devices.devices[0].name,))
    trace, requests = tmp_path / "DE.csv", tmp_path / "day.csv"
    trace.write_text("zone,utc,lifecycle_g_per_kwh\nDE,2021-01-01T00:00Z,300\nDE,2021-01-01T01:00Z,400\n")
    requests.write_text("timestamp\n0\n1\n")

    def of(value: float, images: Any, workload: Any, grid: Any) -> dict[str, tuple[str, str]]:
        service = Service(problem, plan, (torch.full((1, 3, 4, 4), value),))
        found = datasets([service], images, workload, grid)
        return {each.context: (each.name, each.digest) for each in found}

    files = of(1.0, ImageFolder(str(tmp_path)), Replay(str(requests)), Trace(str(trace)))
    assert files["grid"] == ("DE.csv", hashlib.sha256(trace.read_bytes()).hexdigest()[:16])
    assert files["workload"] == ("day.csv", hashlib.sha256(requests.read_bytes()).hexdigest()[:16])
    assert files["images"][0] == tmp_path.name
    plain = of(1.0, Photographs(), Closed(2), Static())
    assert set(plain) == {"profiler", "images"}
    assert plain["profiler"] == files["profiler"]
    assert plain["images"] == ("photographs", files["images"][1])
    assert of(2.0, Photographs(), Closed(2), Static())["images"] != plain["images"]
    simulated = list(datasets([Service(problem, plan, ())], Photographs(), Closed(2), Static()))
    assert [each.context for each in simulated] == ["profiler"]
