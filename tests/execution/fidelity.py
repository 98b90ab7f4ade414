"""`make fidelity`: predicted against measured latency, unsplit and in 2 and 3 stages, for ten networks.

Each network is profiled anew. Then random plans on random devices run emulated, one request at a time, and
the median latency of a plan is compared with its prediction. Prints a row a network, then the errors by
number of stages, and the share of plans within their interval: of all, and of those whose run does not say
that its host or its profile is unsteady (`host_notes`).
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import pandas as pd
import torch

from pipeline.carbon.grids.static import Static
from pipeline.carbon.intensity import Intensity
from pipeline.execution.backends.emulated import Emulated
from pipeline.execution.devices.profiler import Profiler
from pipeline.execution.job import Job, Service
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.network.graph import Graph
from pipeline.network.models.spec import ModelSpec
from pipeline.planning.problem import Problem
from pipeline.results.host_notes import host_notes
from pipeline.results.validation import Validation, comparison, errors_by_stages, prediction_errors
from schedulers.pinned import Pinned
from tests.conftest import configured

MODELS = (
    "mobilenet_v2", "mnasnet0_5", "regnet_y_400mf", "efficientnet_b0", "shufflenet_v2_x1_0", "squeezenet1_1",
    "mobilenet_v3_small", "resnet50", "densenet121", "googlenet",
)  # fmt: skip


def fidelity(model: str, fleet_name: str, validation: Validation) -> pd.DataFrame:
    """The plans that `validation` draws for a torchvision model, one row each (see `comparison`)."""
    spec, fleet = ModelSpec(name=model, library="torchvision"), configured("fleet", fleet_name)
    graph = Graph.of(spec.build(), torch.zeros(1, 3, spec.input_size, spec.input_size), model)
    profile = Profiler(cache_dir=None).profile(spec, graph, fleet)
    intensity, workload = Intensity.of(fleet, Static(), datetime.now(UTC)), Closed(validation.requests)
    problem = Problem(graph, fleet, profile, intensity.at(0.0))
    inputs = configured("images", "photographs").inputs(spec, validation.requests)
    runs, notes = [], []
    for plan in validation.draw(problem):
        job = Job((Service(problem, plan, inputs),), workload, intensity, datetime.now(UTC))
        runs.append((plan, Emulated().run(job, Pinned())))
        notes.append(" ".join(host_notes(runs[-1][1], job.services)))
    assert profile.measured is not None
    table = comparison(problem, runs)
    return table.assign(model=model, profile_interval=profile.measured.interval, note=notes)


def main() -> None:
    """Run all networks and print their errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--plans", type=int, default=24, help="random plans of each network")
    parser.add_argument("--requests", type=int, default=10, help="requests of each plan")
    parser.add_argument("--fleet", default="paper")
    parser.add_argument("--csv", help="file for the table of all plans")
    parser.add_argument("--models", default=",".join(MODELS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    tables = []
    for model in given.models.split(","):
        table = fidelity(model, given.fleet, Validation(plans=given.plans, requests=given.requests))
        tables.append(table)
        print(model, _row(table), flush=True)
    whole = pd.concat(tables)
    print("all", _row(whole))
    if given.csv:
        whole.to_csv(given.csv, index=False)
    for stages, text in errors_by_stages(whole).items():
        print(f"{stages}: {text}")


def _row(table: pd.DataFrame) -> str:
    """Errors, share of plans inside, drift of the host and steadiness of the profile, as text."""
    errors = " ".join(f"{key} {value:.1f}%" for key, value in prediction_errors(table).items())
    drift = table["host_drift"]
    steady = table["profile_interval"].max()
    plain = table[table["note"] == ""]
    of_plain = (
        f"{plain['inside'].mean():.1%} of the {len(plain)} without a note" if len(plain) else "all noted"
    )
    return f"{errors} ({of_plain}) host_drift {drift.min():.2f} to {drift.max():.2f}, profile ±{steady:.1%}"


if __name__ == "__main__":
    main()
