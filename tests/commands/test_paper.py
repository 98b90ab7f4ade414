"""`carbonedge paper` at a small size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from pipeline.commands.paper import paper, repetitions
from pipeline.results.paper.configurations import NAMES
from pipeline.results.paper.measured import measured
from pipeline.search.studies.sweep_trial import SweepTrial
from pipeline.tracking.stored import Stored
from tests.commands.conftest import SMALL, runs, store
from tests.results.paper.conftest import REPETITIONS, result, tables


class Kept:
    """A run of a configuration as the store has it."""

    def __init__(self, configuration: str, *left_out: str) -> None:
        self.tags = {"model": "mobilenet_v2"}
        self._tables = {path: t for path, t in tables(configuration).items() if path not in left_out}

    def has(self, path: str) -> bool:
        return path in self._tables

    def table(self, path: str) -> pd.DataFrame:
        return self._tables[path]


def kept(*left_out: str) -> Mapping[str, Stored]:
    runs = {f"{key} {repeat}": Kept(key, *left_out) for key in NAMES for repeat in range(2)}
    return cast("Mapping[str, Stored]", runs)


TRIALS = [
    SweepTrial(
        n, {"model": "mobilenet_v2", "paper": key},
        tuple(result(key, repeat, 200 + 10 * n, 36 - n) for repeat in range(2)),
    )
    for n, key in enumerate(NAMES)
]  # fmt: skip


def test_the_runs_of_all_repetitions_are_read() -> None:
    assert_frame_equal(measured(repetitions(TRIALS, kept())), measured(REPETITIONS))


def test_without_a_meter_the_hosts_carbon_is_unknown() -> None:
    assert "host_g_per_inf" not in measured(repetitions(TRIALS, kept("meter.json")))


@pytest.mark.full
def test_the_papers_page_is_measured_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [*SMALL, "workload.requests=3", "sweep.repeats=1", store(tmp_path)]
    small.remove("workload.requests=4")
    monkeypatch.chdir(tmp_path)
    paper([], small)
    text = Path("paper.md").read_text()
    for name in NAMES.values():
        assert f"| {name} |" in text
    assert "the exact front over split placements" in Path("paper.html").read_text()
    count = len(runs(tmp_path))
    [page] = [run for run in runs(tmp_path) if run.data.tags.get("sweep") == "paper"]
    sweeps = [run for run in runs(tmp_path) if run.data.tags.get("mlflow.parentRunId") == page.info.run_id]
    assert sorted(run.data.metrics["trials_complete"] for run in sweeps) == [6, 42]
    Path("paper.md").unlink()
    paper([], small)  # nothing is measured anew
    assert Path("paper.md").exists()
    assert len(runs(tmp_path)) == count + 1
