"""`make agreement`: emulated against simulated runs, under load: mean and 95th percentile of latency, carbon.

Two models, plans on one device, split over two and three, and whole on any device, at rising loads, with
seeded Poisson arrivals. Each emulated run is simulated twice: from the profile, and with the service times
that the emulated run had, request by request. The latter shows whether both backends queue alike, whatever
the host does. The former also shows how well the profile predicts service times; as these vary by several
per cent from minute to minute on a shared host, and the latency at a load of .8 by four times as much, each
run is repeated, every time with a newly measured profile, and the median over repeats counts. Prints one row
a run and writes a figure of the medians.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.grids.static import Static
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account
from pipeline.domain.plan import AUTO, Plan
from pipeline.domain.records import Records, request_latency_s
from pipeline.execution.backends.emulated import Emulated
from pipeline.execution.backends.service_times import Floats, ServiceTimes
from pipeline.execution.backends.simulated import Simulated
from pipeline.execution.deployment import capacity_rps, deploy
from pipeline.execution.devices.profiler import Profiler
from pipeline.execution.job import Job, Service
from pipeline.execution.workloads.open_loop import Poisson
from pipeline.network.graph import Graph
from pipeline.planning.problem import Problem
from pipeline.results.pages.figures_html import figure_page
from schedulers.fastest import Fastest
from tests.conftest import configured

FIGURES = ("mean_ms", "p95_ms", "carbon_ug")
LOADS = (0.4, 0.8)
SEED = 1
NEAR = 0.1
"""Largest |simulated ÷ emulated - 1| at which two figures agree."""


def agreement(
    models: tuple[str, ...] = ("mobilenet_v2", "efficientnet_b0"),
    loads: tuple[float, ...] = LOADS,
    requests: int = 300,
    repeats: Sequence[int] = (0, 1),
    fleet_name: str = "paper",
) -> pd.DataFrame:
    """One row a run: model, plan, load, and each figure emulated, simulated, and their ratio - 1."""
    fleet = configured("fleet", fleet_name)
    intensity = Intensity.of(fleet, Static(), datetime.now(UTC))
    rows = []
    for repeat, model in product(repeats, models):
        spec = configured("model", model)
        graph = Graph.of(spec.build(), torch.zeros(1, 3, spec.input_size, spec.input_size), spec.name)
        profile = Profiler(cache_dir=None).profile(spec, graph, fleet)
        problem = Problem(graph, fleet, profile, intensity.at(0.0))
        inputs = configured("images", "photographs").inputs(spec, 20)
        for (name, plan), load in product(_plans(problem).items(), loads):
            service = Service(problem, plan, inputs)
            duration_s = requests / (load * _capacity_rps(service))
            workload = Poisson(utilisation=load, duration_s=duration_s, seed=SEED + repeat)
            job = Job((service,), workload, intensity, datetime.now(UTC))
            emulated = Emulated().run(job, Fastest())
            simulated = Simulated().run(job, Fastest())
            with replayed(emulated, job):
                again = Simulated().run(job, Fastest())
            found = [_figures(records, job) for records in (emulated, simulated, again)]
            rows.append({"model": model, "plan": name, "load": load, "repeat": repeat} | _beside(*found))
            print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)
    return pd.DataFrame(rows)


def medians(table: pd.DataFrame) -> pd.DataFrame:
    """The medians over repeats of `agreement`'s rows: one row a configuration."""
    by = ["model", "plan", "load"]
    return table.drop(columns="repeat").groupby(by, sort=False).median().reset_index()


def _plans(problem: Problem) -> dict[str, Plan]:
    layers, (a, b, c) = len(problem.graph), problem.fleet.by_name
    return {
        "one device": Plan((0, layers), (a,)),
        "split over two": Plan((0, layers // 2, layers), (a, b)),
        "split over three": Plan((0, layers // 3, 2 * layers // 3, layers), (b, a, c)),
        "whole, on any": Plan((0, layers), (AUTO,)),
    }


def _capacity_rps(service: Service) -> float:
    return capacity_rps(deploy([service]), [1.0])


def _figures(records: Records, job: Job) -> dict[str, float]:
    latency_ms = request_latency_s(records).to_numpy() * 1e3
    grams = account(records, job.fleet, job.intensity, Accounting("marginal"))["carbon_g"].sum()
    return {
        "mean_ms": float(latency_ms.mean()),
        "p95_ms": float(np.percentile(latency_ms, 95)),
        "carbon_ug": float(grams) / len(latency_ms) * 1e6,
    }


@contextlib.contextmanager
def replayed(records: Records, job: Job) -> Iterator[None]:
    """During the block simulated runs of the job have the service times of these records."""
    table = records.table[records.table["kind"] == "compute"]
    work = deploy(job.services)
    took_s = (table["end_s"] - table["start_s"]).to_numpy()
    where = zip(table["stage"].astype(int), table["device"].astype(str), strict=True)
    ratio = took_s / [work[stage].seconds[device] for stage, device in where]
    by_request = table.assign(ratio=ratio).pivot_table("ratio", "request", "stage")
    ratios = by_request.to_numpy()

    def draw(times: ServiceTimes, requests: int) -> Floats:
        begin = getattr(times, "drawn", 0)
        times.drawn = begin + requests  # type: ignore[attr-defined]
        return np.asarray(ratios[begin : begin + requests])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServiceTimes, "draw", draw)
        yield


def _beside(
    emulated: dict[str, float], simulated: dict[str, float], again: dict[str, float]
) -> dict[str, float]:
    beside: dict[str, float] = {}
    for key in FIGURES:
        beside |= {key: round(emulated[key], 2), f"{key} simulated": round(simulated[key], 2)}
        beside[f"{key} error"] = round(simulated[key] / emulated[key] - 1, 4)
        beside[f"{key} replayed"] = round(again[key] / emulated[key] - 1, 4)
    return beside


def figure(table: pd.DataFrame) -> go.Figure:
    """Simulated over emulated, each figure a colour, between the lines of ±10%."""
    drawn = go.Figure()
    low, high = table[list(FIGURES)].min().min() / 1.5, table[list(FIGURES)].max().max() * 1.5
    for name, factor in (("", 0.9), ("±10%", 1.1)):
        drawn.add_scatter(
            x=[low, high], y=[low * factor, high * factor], mode="lines", line={"width": 0}, name=name,
            showlegend=bool(name), hoverinfo="skip", fill="tonexty" if name else None,
            fillcolor="rgba(120, 120, 120, 0.18)",
        )  # fmt: skip
    titles = ("mean latency, ms", "95th percentile, ms", "carbon, µg")
    for key, title in zip(FIGURES, titles, strict=True):
        text = table["model"] + ", " + table["plan"] + ", load " + table["load"].astype(str)
        drawn.add_scatter(x=table[key], y=table[f"{key} simulated"], mode="markers", name=title, text=text)
    drawn.update_layout(
        template="plotly_white",
        title="Simulated against emulated runs",
        xaxis={"title": "Emulated", "type": "log"},
        yaxis={"title": "Simulated", "type": "log"},
    )
    return drawn


if __name__ == "__main__":
    torch.set_num_threads(1)
    table = medians(agreement())
    print(table.to_string(index=False))
    for kind in ("error", "replayed"):
        worst = table[[f"{key} {kind}" for key in FIGURES]].abs()
        print(worst.describe(percentiles=[0.5, 0.95]).to_string())
        print(f"within {NEAR:.0%}: {(worst <= NEAR).sum().to_dict()} of {len(table)}")
    path = sys.argv[1] if len(sys.argv) > 1 else "agreement.html"
    Path(path).write_text(figure_page(figure(table)))
    print(path)
