"""`make bench`: what it costs to log a sweep's trials to SQLite, in our batches and one call a metric.

As a simulated trial does: 30 metrics, 8 params, 8 tags, a table, three texts. MLflow's own client, with one
call a metric, is the yardstick, taken in turn with our batches.
Then of a real simulated sweep, whose trials have twice as many metrics, which share of its time logging is.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.tracking import MlflowClient

from pipeline.commands.run import main as program
from pipeline.results.metric_keys import METRICS
from pipeline.search.trial_loop import TrialLoop
from pipeline.tracking.background_sender import BackgroundSender
from pipeline.tracking.mlflow_run import Run
from pipeline.tracking.tracking import Tracking
from tests.bench.yardsticks import Lines

TRIALS = 1000
SLOW_TRIALS = 50
"""So many one call a metric: as slow as they are, a share tells."""
PARTS = 5
"""Before each a yardstick is taken."""
LIMIT_RATIO = 0.6
"""Of the time with one call a metric."""
SWEEP_TRIALS = 300
LIMIT_SHARE = 0.1
FIGURES = dict.fromkeys(list(METRICS)[:30], 0.0)
"""Zeros: other values of so many metrics would have to agree with each other."""


def batches(tracking: Tracking, count: int) -> float:
    """Seconds that so many trials take as a sweep logs them."""
    table = pd.DataFrame({"device": ["a", "b", "c"] * 10, "energy_j": range(30)})
    with tracking.open_run("sweep", {}, {}) as sweep:
        begin = time.perf_counter()
        for number in range(count):
            trials = replace(tracking, parent_run_id=sweep.run_id, trial=number)
            with trials.open_run("trial", {f"t{k}": "tag" for k in range(8)}, {}) as run:
                run.log_metrics(FIGURES)
                run.log_params({f"p{k}": number for k in range(8)})
                run.log_table(table, "ledger.json")
                for name in ("run.json", "config.yaml", "overrides.yaml"):
                    run.log_text("text", name)
            tracking.deliver([run.run_id])
        return time.perf_counter() - begin


def one_by_one(tracking: Tracking, count: int) -> float:
    """Seconds that they take with a call for each metric, param, tag and file."""
    client = MlflowClient(tracking_uri=tracking.uri)
    experiment = client.get_experiment_by_name(tracking.experiment)
    assert experiment is not None
    table = pd.DataFrame({"device": ["a", "b", "c"] * 10, "energy_j": range(30)})
    begin = time.perf_counter()
    for number in range(count):
        run_id = client.create_run(experiment.experiment_id).info.run_id
        for key, value in FIGURES.items():
            client.log_metric(run_id, key, value)
        for k in range(8):
            client.log_param(run_id, f"p{k}", number)
            client.set_tag(run_id, f"t{k}", "tag")
        client.log_table(run_id, table, "ledger.json")
        for name in ("run.json", "config.yaml", "overrides.yaml"):
            client.log_text(run_id, "text", name)
        client.set_terminated(run_id)
    return time.perf_counter() - begin


def share(count: int) -> float:
    """Of the time that a simulated sweep's trials take, the part spent in what logs them.

    A background process sends them; the time for which the sweep waits for it at the end counts too.
    """
    spent_s = []

    def timed(owner: type, name: str) -> None:
        method = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                spent_s.append(time.perf_counter() - begin)

        setattr(owner, name, wrapped)

    def trials(self: Any) -> dict[str, float]:
        spent_s.clear()
        begin = time.perf_counter()
        figures = run_all(self)
        spent_s.insert(0, time.perf_counter() - begin)
        return figures

    run_all = TrialLoop.run_all
    TrialLoop.run_all = trials  # type: ignore[method-assign]
    timed(Tracking, "_start")
    for name in ("deliver", "finish"):
        timed(BackgroundSender, name)
    for name in ("end", "flush", "log_table", "log_text", "log_metrics", "log_params", "log_inputs"):
        timed(Run, name)
    sys.argv = ["pipeline", "backend=simulated", "meter=none", "sweep=pareto", f"sweep.n_trials={count}"]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        program()
    return sum(spent_s[1:]) / spent_s[0]


def main() -> None:
    """Print all three."""
    lines = Lines()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        tracking = Tracking(f"sqlite:///{Path(folder)}/mlflow.db")
        tracking.check()
        batches(tracking, 1)  # makes the experiment
        single_s = ours_s = 0.0
        for _ in range(PARTS):
            single_s += one_by_one(tracking, SLOW_TRIALS // PARTS) / SLOW_TRIALS * TRIALS
            ours_s += batches(tracking, TRIALS // PARTS)
        logging_share = share(SWEEP_TRIALS)
        os.chdir("/")
    what = f"logging {TRIALS:,} trials of {len(FIGURES)} metrics to SQLite"
    lines.add(what, f"{ours_s:.1f} s", ours_s / single_s, "of one call a metric", LIMIT_RATIO)
    lines.add("the same, one call a metric", f"{single_s:.1f} s", 1.0, "of itself")
    what = f"logging's share of a simulated sweep of {SWEEP_TRIALS}"
    lines.add(what, f"{logging_share:.1%}", logging_share, "of its time", LIMIT_SHARE)
    lines.end()


if __name__ == "__main__":
    main()
