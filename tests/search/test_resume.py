"""Which study a sweep resumes, and what it refuses to resume."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.tracking import MlflowClient

from pipeline.commands.terminal.error_message import fail
from pipeline.domain.checks import ConfigError
from pipeline.host.processes import this_process
from pipeline.search.studies import study
from pipeline.search.studies.journal import open_storage
from pipeline.tracking import mlflow_run
from tests.search.conftest import Multirun, history, runs


@pytest.mark.full
def test_a_resumed_study_tries_the_points_of_an_undisturbed_one(multirun: Multirun, root: Path) -> None:
    options = ["sweep=pareto", "+sweep.sampler_options.n_startup_trials=4"]
    undisturbed = multirun(*options, "sweep.n_trials=10", "sweep.study_name=whole")
    storage = f"sweep.storage={root}/two.journal"
    multirun(*options, storage, "sweep.n_trials=6")
    both = multirun(*options, storage, "sweep.n_trials=10")
    assert [trial.point for trial in both] == [trial.point for trial in undisturbed]
    assert len({str(trial.point) for trial in both}) == 10
    parents, children = runs(root)
    assert [parent.data.metrics["trials_complete"] for parent in parents] == [10, 10]
    assert len(children) == 20
    assert not (root / "outbox").exists()


@pytest.mark.full
def test_a_resumed_study_logs_the_regret_of_all_its_trials_again(
    priced: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ("sweep=pareto", f"sweep.storage={root}/one.journal", "sweep.study_name=pareto")
    priced(*one, "sweep.n_trials=5")
    first = history(root, runs(root)[0][0], "regret_to_exact")
    priced(*one, "sweep.n_trials=8")
    [parent], _ = runs(root)
    second = history(root, parent, "regret_to_exact")
    assert "The study 'pareto' is resumed: 5 of 8 trials are done" in capsys.readouterr().out
    with pytest.raises(
        ConfigError, match=r"study 'pareto' is another: partitioner.stages was range\(1,4\) and"
    ):
        priced(*one, "partitioner.stages=1,2")
    with pytest.raises(
        ConfigError, match="is another: compression was not set and is int8; choose another name$"
    ):
        priced(*one, "+compression=int8")
    assert len(runs(root)[0]) == 1
    assert list(second) == list(range(8))
    assert {step: second[step] for step in first} == first


def test_what_a_full_disk_took_is_run_again(
    multirun: Multirun, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("sweep.sampler=random", "sweep.seed=1", "sweep.n_trials=4", "partitioner.cuts.0=interval(0,1)")
    write, written = Path.write_text, []

    def full(path: Path, text: str, **options: Any) -> int:
        if path.name == "ledger.json":
            written.append(path)
            if len(written) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, text, **options)

    def log(self: mlflow_run.Run, metrics: Any, step: int | None = None) -> None:
        self.log_text("", "ledger.json")
        log_metrics(self, metrics, step)

    log_metrics = mlflow_run.Run.log_metrics
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_run.Run, "log_metrics", log)
        patch.setattr(Path, "write_text", full)
        patch.setattr(study, "this_process", lambda: [*this_process()[:2], 0])  # which has died since
        with pytest.raises(ConfigError, match=r"cannot write to .*ledger.json: No space left on device"):
            multirun(*asked)
    trials = multirun(*asked)
    assert [(trial.number, trial.failure) for trial in trials] == [(number, "") for number in range(4)]
    [parent], children = runs(root)
    assert parent.data.metrics["trials_complete"] == 4
    assert sorted(run.info.status for run in children) == ["FAILED", *["FINISHED"] * 4]


@pytest.mark.full
def test_begun_anew_where_asked_and_over_where_it_is_over(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("scheduler=green,performance", "partitioner.stages=1")
    first, again, anew = multirun(*grid), multirun(*grid), multirun(*grid, "sweep.resume=false")
    assert [trial.results for trial in first] == [trial.results for trial in again]
    assert {r.run_id for t in anew for r in t.results}.isdisjoint(r.run_id for t in first for r in t.results)
    assert len(runs(root)[0]) == 2
    assert len(list((root / "studies").glob("*.journal"))) == 2
    assert "is resumed: 2 of 2 trials are done" in capsys.readouterr().out


@pytest.mark.full
def test_a_study_whose_runs_are_in_another_store_is_left_and_one_begun(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("scheduler=green,performance", "partitioner.stages=1")
    multirun(*grid)
    for turn in ("", " (2)"):
        [parent], _ = runs(root)
        client = MlflowClient(f"sqlite:///{root}/mlflow.db")
        client.delete_run(parent.info.run_id)
        multirun(*grid)
        [anew], children = runs(root)
        assert anew.info.run_id != parent.info.run_id
        mine = [each for each in children if each.data.tags["mlflow.parentRunId"] == anew.info.run_id]
        assert len(mine) == 2
        assert any(each.data.tags.get("pareto") == "true" for each in mine)
        said = capsys.readouterr().out
        assert f"{turn}' are not in this MLflow store" in said
    multirun(*grid)
    assert "is resumed: 2 of 2" in capsys.readouterr().out
    assert len(list((root / "studies").glob("*.journal"))) == 3


@pytest.mark.full
def test_another_sampler_or_seed_under_the_same_name_is_refused(multirun: Multirun) -> None:
    grid = ("scheduler=green,performance", "partitioner.stages=1", "sweep.study_name=mine")
    multirun(*grid)
    with pytest.raises(ConfigError, match="'mine' is another: sweep.sampler was grid and is random"):
        multirun(*grid, "sweep.sampler=random")
    with pytest.raises(ConfigError, match="'mine' is another: sweep.seed was .* and is 5"):
        multirun(*grid, "sweep.seed=5")


def test_a_study_of_another_version_ends_in_one_line(
    multirun: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("scheduler=green,performance", "partitioner.stages=1", "sweep.study_name=mine")
    storage = open_storage("studies/mine.journal")
    old = optuna.create_study(study_name="mine", storage=storage, directions=["minimize", "minimize"])
    old.set_user_attr("held", {"partitioner._target_": "partitioners.cuts.Explicit", "sweep.seed": "0"})
    with pytest.raises(ConfigError) as caught:
        multirun(*grid)
    with pytest.raises(SystemExit) as end:
        fail(caught.value)
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "error: sweep.study_name: another version of CarbonEdge made the study 'mine' (partitioner._target_ "
        "was partitioners.cuts.Explicit and is partitioners.explicit.Explicit), and this one cannot resume "
        "it; choose another sweep.study_name, or set sweep.resume=false\n"
    )
    assert runs(root) == ([], [])
    assert len(multirun(*grid, "sweep.resume=false")) == 2
    assert [each.study_name for each in optuna.get_all_study_summaries(storage)] == ["mine"]
