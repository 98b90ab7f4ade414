"""action=profile: measure the time of each layer on each device, and log it. Shell."""

from __future__ import annotations

from pipeline.domain.trial_result import TrialResult
from pipeline.trial.open_run import opened
from pipeline.trial.provenance import Provenance
from pipeline.trial.trial import Trial


def profile(trial: Trial, provenance: Provenance) -> TrialResult:
    """Log the profile of the trial's model; the result's labels are the whole model's ms by device."""
    found = trial.problem().profile
    name = f"profile · {trial.model.name} · {trial.fleet.name}"
    with opened(name, trial, provenance) as run:
        run.log_table(found.table, "profile.json")
        run.log_params({f"speed.{device}": f"{value:.4g}" for device, value in found.speeds.items()})
        provenance.log(run)
    whole_ms = {f"{d} (ms)": f"{found.cumulative_s(d)[-1] * 1e3:.2f}" for d in found.speeds}
    return TrialResult(run.run_id, name, {}, whole_ms)
