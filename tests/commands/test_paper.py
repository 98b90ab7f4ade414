"""`carbonedge paper` at a small size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pandas.testing import assert_frame_equal

from pipeline.commands.paper import paper, repetitions
from pipeline.commands.stored_run import StoredRun
from pipeline.results.paper.configurations import NAMES
from pipeline.results.paper.measured import measured
from pipeline.search.studies.sweep_trial import SweepTrial
from pipeline.tracking.stored import Stored
from tests.commands.conftest import SIMULATED, runs, store
from tests.results.pages.packed_scripts import packed_scripts
from tests.results.paper.conftest import REPETITIONS, result, tables


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Stored]:
    """The runs of the configurations as the store has them, checked elsewhere (`StoredRun`)."""
    stored = {
        f"{key} {repeat}": SimpleNamespace(owner="", tags={"model": "mobilenet_v2"}, key=key, repeat=repeat)
        for key in NAMES
        for repeat in range(2)
    }

    def checked(run: Any) -> Any:
        own, n = tables(run.key), [*NAMES].index(run.key)
        node = own["meter.json"]["device"][0]
        return SimpleNamespace(
            records=SimpleNamespace(table=own["records.json"], reserved=[node]),
            ledger=own["ledger.json"],
            fleet=SimpleNamespace(by_name={node: SimpleNamespace(cpu_quota=1.0)}),
            figures={**result(run.key, run.repeat, 200 + 10 * n, 36 - n).metrics, **METERED},
        )

    monkeypatch.setattr(StoredRun, "of", checked)
    return cast("Mapping[str, Stored]", stored)


METERED = {"host_energy_j": 7.2}


TRIALS = [
    SweepTrial(
        n, {"model": "mobilenet_v2", "paper": key},
        tuple(result(key, repeat, 200 + 10 * n, 36 - n) for repeat in range(2)),
    )
    for n, key in enumerate(NAMES)
]  # fmt: skip


def test_the_runs_of_all_repetitions_are_read(kept: Mapping[str, Stored]) -> None:
    found, expected = measured(repetitions(TRIALS, kept)), measured(REPETITIONS)
    assert_frame_equal(found[[*expected]], expected)


def test_without_a_meter_the_hosts_carbon_is_unknown(
    kept: Mapping[str, Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.commands.test_paper.METERED", {})
    assert "host_g_per_inf" not in measured(repetitions(TRIALS, kept))


@pytest.mark.full
def test_the_papers_page_is_measured_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [*SIMULATED, "workload.requests=3", "sweep.repeats=1", store(tmp_path)]
    monkeypatch.chdir(tmp_path)
    paper([], small)
    text = Path("paper.md").read_text()
    for name in NAMES.values():
        assert f"| {name} |" in text
    assert "the exact front over split placements" in packed_scripts(Path("paper.html").read_text())[1]
    count = len(runs(tmp_path))
    [page] = [run for run in runs(tmp_path) if run.data.tags.get("sweep") == "paper"]
    sweeps = [run for run in runs(tmp_path) if run.data.tags.get("mlflow.parentRunId") == page.info.run_id]
    assert sorted(run.data.metrics["trials_complete"] for run in sweeps) == [6, 42]
    Path("paper.md").unlink()
    paper([], small)  # nothing is measured anew
    assert Path("paper.md").exists()
    assert len(runs(tmp_path)) == count + 1
