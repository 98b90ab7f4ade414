import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.trial_result import TrialResult
from pipeline.search.search_space import Point, SearchSpace
from pipeline.search.studies.samplers import SAMPLERS
from pipeline.search.studies.study import Study
from pipeline.search.studies.sweep_trial import SweepTrial
from tests.conftest import ROOT

OBJECTIVES = {"carbon": "minimize", "speed": "maximize"}
SPACE = SearchSpace.parse(
    {"stages": "range(1,4)", "cut": "interval(0.05,0.95)", "lr": "tag(log,interval(1e-4,1))", "device": "a,b"}
)


def study(path: Path, total: int, **kwargs: Any) -> Study:
    defaults: dict[str, Any] = {
        "sampler": "tpe",
        "sampler_options": {"n_startup_trials": 3},
        "seed": 7,
        "enqueue": [],
        "name": "s",
        "held": {"model.name": "tiny"},
    }
    return Study(
        kwargs.pop("space", SPACE),
        kwargs.pop("objectives", OBJECTIVES),
        storage=str(path / "study.journal"),
        total=total,
        **{**defaults, **kwargs},
    )


def answer(source: Study, batch: Sequence[tuple[int, Point]]) -> None:
    for number, point in batch:
        cut, stages = float(point["cut"]), float(point["stages"])
        metrics = {
            "carbon": (cut - 0.3) ** 2 + 0.1 * stages,
            "speed": -((cut - 0.7) ** 2) - (point["device"] == "a"),
        }
        source.tell(SweepTrial(number, point, (TrialResult(f"run{number}", "trial", metrics, {"k": "v"}),)))


def run(source: Study, batch_size: int = 1) -> list[SweepTrial]:
    while batch := source.ask(batch_size):
        answer(source, batch)
    return list(source.trials)


@pytest.mark.filterwarnings("error::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_lie_in_the_space(tmp_path: Path, sampler: str) -> None:
    trials = run(study(tmp_path, 12, sampler=sampler, sampler_options={}))
    assert [trial.number for trial in trials] == list(range(12))
    for trial in trials:
        assert trial.point["stages"] in (1, 2, 3)
        assert 0.05 <= float(trial.point["cut"]) <= 0.95
        assert 1e-4 <= float(trial.point["lr"]) <= 1
        assert trial.point["device"] in ("a", "b")
    assert len({trial.point["cut"] for trial in trials}) == 12


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_the_points_of_a_range_are_the_numbers_that_are_written(tmp_path: Path, sampler: str) -> None:
    """0.9 was never drawn, and 0.8999999999999999 is 3 * 0.3 in floats."""
    space = SearchSpace.parse({"cut": "range(0,1,0.3)", "stages": "range(1,4)", "device": "a,b"})
    trials = run(
        study(tmp_path, 30, sampler=sampler, sampler_options={}, space=space, enqueue=[{"cut": 0.9}])
    )
    assert {trial.point["cut"] for trial in trials} == {0, 0.3, 0.6, 0.9}
    again = study(tmp_path, 30, sampler=sampler, sampler_options={}, space=space)
    assert [trial.point for trial in again.trials] == [trial.point for trial in trials]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "qmc"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_resumed_study_is_the_undisturbed_one(tmp_path: Path, sampler: str, batch_size: int) -> None:
    options = {"sampler": sampler, "sampler_options": {"population_size": 4} if sampler == "nsga2" else {}}
    enqueue = [{"stages": 1, "device": "a"}, {"cut": 0.5}]
    undisturbed = run(study(tmp_path / "one", 20, enqueue=enqueue, **options), batch_size)
    first = run(study(tmp_path / "two", 12, enqueue=enqueue, **options), batch_size)
    both = run(study(tmp_path / "two", 20, enqueue=enqueue, **options), batch_size)
    assert len(first) == 12
    assert both == undisturbed
    assert [trial.point for trial in both[12:]] != [trial.point for trial in both[:8]]


def test_qmc_fills_the_space_evenly(tmp_path: Path) -> None:
    """Of 16 points of a scrambled Sobol sequence each sixteenth of a dimension holds one."""
    space = SearchSpace.parse({"cut": "interval(0,1)", "stages": "range(1,4)", "device": "a,b"})
    trials = run(study(tmp_path, 17, sampler="qmc", sampler_options={}, space=space))
    assert sorted(int(16 * float(trial.point["cut"])) for trial in trials[1:]) == list(range(16))


def test_another_seed_asks_other_points(tmp_path: Path) -> None:
    cuts = [[t.point["cut"] for t in run(study(tmp_path / str(seed), 4, seed=seed))] for seed in (0, 0, 1)]
    assert set(cuts[0]).isdisjoint(cuts[2])
    again = [t.point["cut"] for t in run(study(tmp_path / "again", 4, seed=0))]
    assert again == cuts[0]


def test_enqueued_points_come_first_and_the_rest_of_them_is_sampled(tmp_path: Path) -> None:
    trials = run(study(tmp_path, 4, enqueue=[{"stages": 1, "device": "a"}, {"stages": 3, "cut": 0.5}]))
    assert (trials[0].point["stages"], trials[0].point["device"]) == (1, "a")
    assert (trials[1].point["stages"], trials[1].point["cut"]) == (3, 0.5)
    assert 0.05 <= float(trials[0].point["cut"]) <= 0.95


@pytest.mark.parametrize("carbon", [math.nan, math.inf, None])
def test_a_trial_without_a_finite_objective_fails_and_is_remembered_as_such(
    tmp_path: Path, carbon: float | None
) -> None:
    source = study(tmp_path, 1)
    [(number, point)] = source.ask(1)
    metrics = {"speed": 1.0} | ({} if carbon is None else {"carbon": carbon})
    told = source.tell(SweepTrial(number, point, (TrialResult("run", "trial", metrics, {}),)))
    assert told.failure == "no finite carbon"
    [trial] = study(tmp_path, 1).trials
    assert trial.failure == "no finite carbon"
    assert len(trial.results) == 1
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    )
    [stored] = optuna.load_study(study_name="s", storage=storage).trials
    assert stored.state is optuna.trial.TrialState.FAIL


def test_a_study_goes_on_only_under_what_its_trials_shared(tmp_path: Path) -> None:
    held = {"model.name": "tiny", "fleet.name": "pair", "cut": "interval(0,1)", "seed": "1"}
    run(study(tmp_path, 2, held=held))
    assert len(run(study(tmp_path, 3, held=dict(reversed(held.items()))))) == 3
    other = {"model.name": "huge", "cut": "interval(0,1)", "fleet.name": "trio", "power": "2", "idle": "1"}
    message = (
        "sweep.study_name: the study 's' is another: model.name was tiny and is huge; fleet.name was pair "
        "and is trio; power was not set and is 2; and 2 more; choose another name"
    )
    with pytest.raises(ConfigError, match=f"^{message}$"):
        study(tmp_path, 9, held=other)
    assert len(study(tmp_path, 3, held=held).trials) == 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"sampler_options": {"n_startup": 3}}, "sweep.sampler_options: .*n_startup"),
        (
            {"sampler_options": {"n_startup_trials": "abc"}},
            "options.n_startup_trials: 'abc' is not a valid",
        ),
        ({"sampler_options": {"gamma": 3}}, "sampler_options.gamma: 3 is not a valid value for TPESampler"),
    ],
)
def test_bad_settings_are_config_errors(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(tmp_path, 1, **bad)


@pytest.mark.parametrize("storage", ["study.db", "nosuch://host/study", "sqlite:////no/such/dir/study.db"])
def test_a_storage_that_cannot_be_used_is_a_config_error(storage: str) -> None:
    with pytest.raises(ConfigError, match=r"sweep\.storage"):
        Study(
            SPACE, OBJECTIVES, held={}, name="s", storage=storage, total=1, enqueue=[], sampler="tpe",
            sampler_options={}, seed=0,
        )  # fmt: skip


def test_a_database_serves_as_well_as_a_journal(tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "name": "s",
        "enqueue": [],
        "sampler": "random",
        "sampler_options": {},
        "seed": 0,
        "held": {},
    }
    url = f"sqlite:///{tmp_path}/study.db"
    first = run(Study(SPACE, OBJECTIVES, storage=url, total=2, **common))
    both = run(Study(SPACE, OBJECTIVES, storage=url, total=3, **common))
    assert both[:2] == first
    assert both == run(study(tmp_path, 3, sampler="random", sampler_options={}, seed=0))


# --- killed, and two at once ----------------------------------------------------------------------


def in_a_process(path: Path, body: str) -> subprocess.Popen[bytes]:
    """Lines that work on the study `s` of this file, in a process of their own."""
    script = (
        "import os\nfrom pathlib import Path\nfrom tests.search.studies import test_study as t\n"
        f"where = Path({str(path)!r})\n{body}"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", script], env=environment)


@pytest.mark.parametrize(
    "sampler", ["tpe", *(pytest.param(name, marks=pytest.mark.full) for name in ("nsga2", "random"))]
)
@pytest.mark.parametrize(
    "dies",
    [
        "s.ask(1); os._exit(9)",
        "s.ask(2); os._exit(9)",
        # Between two of its dimensions, and before it says whose it is.
        "import pipeline.search.studies.study as p; old = p._suggested; "
        "p._suggested = lambda *a: old(*a) if a[1] == 'stages' "
        "else os._exit(9); s.ask(1)",
        "import pipeline.search.studies.study as p; p.this_process = lambda: os._exit(9); s.ask(1)",
    ],
)
def test_a_trial_whose_process_died_is_run_again_at_its_point(
    tmp_path: Path, sampler: str, dies: str
) -> None:
    options: dict[str, Any] = {"sampler": sampler, "sampler_options": {}}
    undisturbed = run(study(tmp_path / "one", 9, **options))
    run(study(tmp_path / "two", 5, **options))
    died = f"s = t.study(where, 9, sampler={sampler!r}, sampler_options={{}})\n{dies}"
    assert in_a_process(tmp_path / "two", died).wait(60) == 9
    assert run(study(tmp_path / "two", 9, **options)) == undisturbed


def test_a_torn_line_does_not_spoil_what_a_living_process_writes(tmp_path: Path) -> None:
    source = study(tmp_path, 3)
    [(number, point)] = source.ask(1)
    with (tmp_path / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code": 6, "wor')  # of another, killed while it wrote
    source.tell(SweepTrial(number, point, (TrialResult("run", "trial", {"carbon": 1.0, "speed": 1.0}, {}),)))
    assert len(run(source)) == 3
    assert len(study(tmp_path, 3).trials) == 3


def test_what_another_machine_has_under_way_is_waited_for_or_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pipeline.search.studies.study.this_process", lambda: ["otherbox", 7, 0.0])
    [(number, point)] = study(tmp_path, 1).ask(1)
    monkeypatch.undo()

    def enough(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.search.studies.study.time.sleep", enough)
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path, 1).ask(1)
    assert "waiting for trials that are under way elsewhere: 0 (process 7 on otherbox)" in caplog.text
    assert list(study(tmp_path, 1, take_over=True).ask(1)) == [(number, point)]


@pytest.mark.full
def test_two_sweeps_on_one_study_share_its_trials(tmp_path: Path) -> None:
    script = "assert len(t.run(t.study(where, 30))) == 30"
    both = [in_a_process(tmp_path, script) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    trials = study(tmp_path, 30).trials
    assert [trial.number for trial in trials] == list(range(30))
    assert not any(trial.failure for trial in trials)


def test_a_line_that_was_not_written_to_its_end_is_cut_off(tmp_path: Path) -> None:
    first = run(study(tmp_path, 5))
    journal = tmp_path / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "worker')
    assert run(study(tmp_path, 5)) == first
    assert journal.read_bytes().startswith(whole + b'{"op_code":')


def test_a_broken_storage_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    run(study(tmp_path, 3))
    journal = tmp_path / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    broken = b"".join([*lines[:4], b"no json\n", *lines[4:]])
    journal.write_bytes(broken)
    with pytest.raises(ConfigError, match=r"sweep.storage: line 5 of .*study.journal is broken; it is unch"):
        study(tmp_path, 3)
    assert journal.read_bytes() == broken
    for other in (b"my notes\n", b"my notes", b"\0\0\0\0"):
        journal.write_bytes(other)
        with pytest.raises(ConfigError, match=r"sweep.storage: line 1 of .*study.journal is broken"):
            study(tmp_path, 4)
        assert journal.read_bytes() == other
    database = tmp_path / "study.db"
    database.write_bytes(b"This is no database, but long enough to look like one to SQLite." * 20)
    before = database.read_bytes()
    with pytest.raises(ConfigError, match=r"sweep.storage: cannot read sqlite.*; it is unchanged"):
        Study(
            SPACE, OBJECTIVES, held={}, name="s", storage=f"sqlite:///{database}", total=3, enqueue=[],
            sampler="tpe", sampler_options={}, seed=0,
        )  # fmt: skip
    assert database.read_bytes() == before


def test_a_folder_where_we_may_not_write_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"sweep.storage: cannot use .*file/study.journal: "):
        study(tmp_path / "file", 3)


def test_how_far_a_trial_is_beyond_a_constraint_reaches_the_sampler(tmp_path: Path) -> None:
    source = study(tmp_path, 2)
    for number, point in source.ask(2):
        result = TrialResult("run", "trial", {"carbon": 1.0, "speed": 2.0}, {})
        source.tell(SweepTrial(number, point, (result,)), {"grams": number - 0.5})
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    )
    stored = optuna.load_study(study_name="s", storage=storage)
    assert [trial.constraints for trial in stored.trials] == [{"grams": -0.5}, {"grams": 0.5}]
    assert [trial.number for trial in stored.best_trials] == [0]


RESULT = {"run_id": "r", "name": "n", "labels": {}}


@pytest.mark.parametrize(
    ("results", "complaint"),
    [
        (
            [{"run_id": "r", "name": "n", "metrics": {"carbon_g_per_inf": -5.0}, "labels": {}}],
            "carbon_g_per_inf",
        ),
        ([{"run_id": "r", "name": "n", "metrics": {"carbon": "much"}, "labels": {}}], "is broken"),
        ([{"run_id": "r", "name": "n", "metrics": 5, "labels": {}}], "is broken"),
        ([{"soul": 1}], "is broken"),
        ([{"run_id": {"a": 1}, "name": "n", "metrics": {}, "labels": {}}], "run_id must be a text"),
        ([{"run_id": "r", "name": "n", "metrics": {}, "labels": 5}], "labels must be names and texts"),
        ([{"run_id": "r", "name": "n", "metrics": {}, "labels": {"cuts": -7.0}}], "cuts must be a text"),
        ([{"run_id": "r", "name": "n", "metrics": {}, "labels": {"slo_miss_rate": "-7"}}], "is no label"),
        ([{"run_id": "r", "name": "n", "metrics": {}, "labels": {"number": "1"}}], "number is no label"),
        ([{**RESULT, "metrics": {}, "plan": {"bounds": [0, 1], "devices": 5}}], "must be a list of names"),
        ([{**RESULT, "metrics": {}, "plan": {"bounds": [0, 1], "devices": [5]}}], "must be a list of names"),
        (5, "is broken"),
    ],
)
def test_a_trial_that_no_sweep_stores_is_one_line(tmp_path: Path, results: Any, complaint: str) -> None:
    """A study's file may have been edited, or be somebody else's."""
    source = study(tmp_path, 3)
    [(number, _)] = source.ask(1)
    source._asked[number].set_user_attr("results", results)
    source._study.tell(source._asked[number], [1.0, 1.0])
    with pytest.raises(ConfigError, match=f"study .*trial 0.*{complaint}"):
        study(tmp_path, 3)


def test_an_owner_that_is_no_process_is_one_line(tmp_path: Path) -> None:
    source = study(tmp_path, 3)
    [(number, _)] = source.ask(1)
    source._asked[number].set_user_attr("owner", 5)
    with pytest.raises(ConfigError, match="the owner of trial 0 is broken .5."):
        study(tmp_path, 3).ask(1)
