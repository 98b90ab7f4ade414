"""Trials launched in batches, failures among them, and the progress that is logged after each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus

from pipeline.domain.checks import ConfigError
from pipeline.domain.plan import Plan
from pipeline.execution.devices.device_error import DeviceError
from pipeline.search.exact_reference import ExactReference
from pipeline.search.jobs import trial_of
from tests.search.conftest import Multirun, PricedTrial, history, runs


def test_a_batch_goes_to_the_launcher_in_one_call(
    multirun: Multirun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    calls: list[tuple[int, int]] = []
    launch = BasicLauncher.launch

    def spy(self: BasicLauncher, job_overrides: Any, initial_job_idx: int) -> Sequence[JobReturn]:
        calls.append((len(job_overrides), initial_job_idx))
        return launch(self, job_overrides, initial_job_idx)

    monkeypatch.setattr(BasicLauncher, "launch", spy)
    multirun("sweep=pareto", "sweep.n_trials=7", "sweep.batch_size=3")
    assert calls == [(3, 0), (3, 3), (1, 6)]


def test_failed_jobs_are_counted_and_the_grid_goes_on(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = multirun("partitioner.cuts.0=0.1,0.2,0.6", "fail_below=0.5")
    assert [trial.failure for trial in trials] == [
        "partitioner.cuts: 0.1 is too small",
        "partitioner.cuts: 0.2 is too small",
        "",
    ]
    [parent], children = runs(root)
    assert (parent.data.metrics["trials_complete"], parent.data.metrics["trials_failed"]) == (1, 2)
    assert len(children) == 1
    printed = capsys.readouterr().out
    assert "trial 0 failed: partitioner.cuts: 0.1 is too small\n" in printed
    assert "2 of 3 trials failed; the first, 0: partitioner.cuts: 0.1 is too small\n" in printed


def test_a_device_that_dies_fails_its_trial_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    wrapped = RuntimeError("the job failed")
    wrapped.__cause__ = DeviceError("the process of device a has ended (exit code -9)")
    job = JobReturn(status=JobStatus.FAILED)
    job.return_value = wrapped
    trial = trial_of(3, {}, [job])
    assert trial.failure.endswith("the process of device a has ended (exit code -9)")
    assert caplog.records == []


def test_one_failed_repetition_fails_the_trial(multirun: Multirun) -> None:
    trials = multirun(
        "partitioner.cuts.0=0.1,0.5", "sweep.repeats=2", "partitioner.stages=1", "fail_below=0.2"
    )
    assert [(len(trial.results), trial.failure) for trial in trials] == [
        (0, "partitioner.cuts: 0.1 is too small"),
        (2, ""),
    ]


def test_a_sweep_of_failures_ends_with_the_first_one_s_reason(multirun: Multirun, root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"all 2 trials failed; the first: partitioner.cuts: 0.1 is too small"
    ):
        multirun("partitioner.cuts.0=0.1,0.2", "fail_below=0.5")
    [parent], _ = runs(root)
    assert parent.info.status == "FAILED"
    assert parent.data.metrics["trials_failed"] == 2


def test_nan_and_errors_fail_their_trials_only(multirun: Multirun, root: Path) -> None:
    trials = multirun(
        "sweep.sampler=random",
        "sweep.seed=1",
        "sweep.n_trials=8",
        "scheduler=green,broken",
        "partitioner.cuts.0=interval(0,1)",
        "fail_below=0.4",
    )
    assert len(trials) == 8
    for trial in trials:
        if float(trial.point["partitioner.cuts.0"]) < 0.4:
            assert trial.failure.endswith("is too small")
        elif trial.point["scheduler"] == "broken":
            assert trial.failure == "no finite carbon_g_per_inf, latency_ms_p50"
        else:
            assert trial.failure == ""
    assert len({trial.failure[-9:] for trial in trials}) == 3
    [parent], _ = runs(root)
    assert parent.data.metrics["trials_failed"] == sum(bool(trial.failure) for trial in trials)


def test_a_study_gives_up_where_more_trials_fail_than_may(multirun: Multirun, root: Path) -> None:
    with pytest.raises(ConfigError, match=r"all 8 trials failed; the first: partitioner\.cuts"):
        multirun("sweep=pareto", "fail_below=2")
    few = r"3 of 8 trials failed, more than sweep.max_failure_rate=0.3 of them; the first: part"
    with pytest.raises(ConfigError, match=few):
        multirun(
            "sweep.sampler=random", "sweep.n_trials=8", "partitioner.cuts.0=interval(0,1)", "fail_below=0.5",
            "sweep.max_failure_rate=0.3",
        )  # fmt: skip
    parents, _ = runs(root)
    assert [parent.info.status for parent in parents] == ["FAILED", "FAILED"]


def test_hypervolume_is_of_what_keeps_the_constraints(priced: Multirun, root: Path) -> None:
    devices = ("partitioner.stages=1", "partitioner.devices.0=fast,clean")
    priced(*devices, "sweep.study_name=free")
    priced(*devices, "sweep.study_name=none", "+sweep.constraints.carbon_g_per_inf=0")
    free, none = sorted(runs(root)[0], key=lambda run: run.info.start_time)
    assert history(root, free, "hypervolume")[1] > 0
    assert history(root, none, "hypervolume") == {0: 0, 1: 0}
    assert history(root, none, "regret_to_exact") == {0: 1, 1: 1}


@pytest.mark.full
def test_a_grid_has_regret_too(priced: Multirun, root: Path) -> None:
    priced("partitioner.stages=1", "partitioner.devices.0=fast,clean")
    [parent], _ = runs(root)
    unsplit = [Plan((0, 6), (device,)) for device in ("fast", "clean")]
    expected = ExactReference.of(
        PricedTrial.known, {"carbon_g_per_inf": "minimize", "latency_ms_p50": "minimize"}
    )
    assert history(root, parent, "regret_to_exact")[1] == pytest.approx(expected.regret(unsplit))
