"""The audit of a sweep: its trials, its front, and how the figures of one trial were obtained. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline.domain.checks import require


def sweep_audit(
    identity: Mapping[str, str],
    metrics: Mapping[str, float],
    params: Mapping[str, str],
    trials: pd.DataFrame,
    compared: Sequence[Mapping[Any, Any]],
    example: Mapping[str, Any],
) -> dict[str, Any]:
    """The trials and results of a sweep: sections by title, of JSON values.

    trials: one row a run, with columns run_id, name, status, and `metrics.KEY`, `params.KEY`, `tags.KEY`;
    compared: rows of its summary table; example: the audit of one of the trials (`run_audit`), which
    supplies method, grid, coefficients, software and config. Only a finished trial is on the front, whose
    size is counted here; which are on it, the sweep's tags say. Raises ConfigError where the metrics count
    more trials than there are, or more complete ones than have FINISHED.
    """
    counted = sum(metrics.get(f"trials_{how}", 0.0) for how in ("complete", "failed"))
    require(
        counted <= len(trials),
        f"run {identity['id']}: its metrics count {counted:g} trials, and the store has {len(trials)}; where "
        "others wait in an outbox, run: carbonedge sync",
    )
    complete, finished = metrics.get("trials_complete", 0.0), trials["status"] == "FINISHED"
    require(
        complete <= finished.sum(),
        f"run {identity['id']}: its metrics count {complete:g} complete trials, and {finished.sum()} "
        "have FINISHED",
    )
    columns = list(map(str, trials))
    keep = [c for c in columns if c.startswith(("metrics.", "params.")) or c in ("run_id", "name", "status")]
    on_front = finished & (trials.get("tags.pareto", pd.Series("", index=trials.index)) == "true")
    boundaries = trials.get("tags.boundary", pd.Series(dtype=str)).dropna().unique().tolist()
    return {
        "run": dict(identity),
        "boundary": boundaries[0] if len(boundaries) == 1 else boundaries,
        "method": example["method"],
        "metrics": {
            key: int(on_front.sum()) if key == "front_size" else value for key, value in metrics.items()
        },
        "params": dict(params),
        "compared": [*compared],
        "front": trials.loc[on_front, "run_id"].tolist(),
        "trials": trials[keep].to_dict("records"),
        "one of its trials": {"run": example["run"]["id"], "name": example["run"]["name"]},
        **{key: example[key] for key in ("grid", "coefficients", "software", "config")},
    }
