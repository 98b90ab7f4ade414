"""Check that MLflow holds a sweep of N trials: a finished parent, N finished trials, a front."""

from __future__ import annotations

import sys

from mlflow import MlflowClient
from mlflow.entities import Run


def complaints(runs: list[Run], num_trials: int) -> list[str]:
    """The faults of the runs of one sweep, a line each; empty if there are none."""
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    if len(parents) != 1:
        return [f"expected 1 parent run (parents: {len(parents)} of {len(runs)} runs)"]
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    front = [run for run in trials if run.data.tags.get("pareto") == "true"]
    states = sorted(run.info.status for run in [*parents, *trials])
    found = []
    if len(trials) != num_trials or len(trials) + 1 != len(runs):
        found.append(
            f"expected {num_trials} trials of that parent (trials: {len(trials)} of {len(runs)} runs)"
        )
    if set(states) != {"FINISHED"}:
        found.append(f"expected every run to be FINISHED (states: {states})")
    if not front:
        found.append("expected at least 1 trial with the tag pareto=true (found none)")
    return found


def main(num_trials: int) -> int:
    """Check the experiment `carbonedge` at MLFLOW_TRACKING_URI; return the exit status."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name("carbonedge")
    runs = list(client.search_runs([experiment.experiment_id])) if experiment else []
    found = complaints(runs, num_trials)
    for complaint in found:
        print(f"check_run: {complaint}", file=sys.stderr)
    if not found:
        print(f"check_run: 1 finished parent, {num_trials} finished trials, a front")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(num_trials=int(sys.argv[1])))
