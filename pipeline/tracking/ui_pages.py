"""What MLflow's UI shows first, and links to its pages. Pure.

MLflow 3.17's own UI opens an experiment on chats and prompts, whatever its kind, unless the link or the
reader's earlier choice says `machine_learning`; and its table of runs begins with other columns than metrics,
except in a saved view, which is a tag of the experiment.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

LOCAL_UI = "http://127.0.0.1:5000"
"""Where `mlflow ui` answers."""
VIEW = "carbonedge"
"""Id and name of the saved view."""
COLUMNS = {
    "attributes.`Run Name`": 205,
    "runDateAndNestInfo": 125,
    "duration": 65,
    "metrics.`carbon_g_per_inf`": 115,
    "metrics.`latency_ms_p50`": 110,
    "metrics.`regret_to_exact`": 110,
}
"""Columns of the view and their widths, so that 1366 pixels show the metrics beside MLflow's assistant.

Trials have carbon and latency, sweeps, below which they are folded, their regret.
"""
MOST_COMPARED = 20
"""Runs that a link compares: addresses have an end, and so has what can be told apart."""


def experiment_tags(at_ms: int) -> dict[str, str]:
    """The tags of an experiment by which the UI shows runs and metrics."""
    metrics = [column for column in COLUMNS if column.startswith("metrics.")]
    state = {"selectedColumns": metrics, "columnOrder": [*COLUMNS], "columnWidths": COLUMNS}
    view = {"name": VIEW, "createdAt": at_ms, "state": json.dumps(state)}
    return {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }


def runs_page(experiment_id: str) -> str:
    """The table of an experiment's runs, with metrics."""
    return f"#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"


def run_page(experiment_id: str, run_id: str) -> str:
    """A run's page."""
    return f"#/experiments/{experiment_id}/runs/{run_id}"


def compare_page(experiment_id: str, run_ids: Sequence[str]) -> str:
    """The first runs of a list, side by side."""
    runs, experiments = map(_listed, (run_ids[:MOST_COMPARED], [experiment_id]))
    return f"#/compare-runs?runs={runs}&experiments={experiments}"


def _listed(ids: Sequence[str]) -> str:
    return quote(json.dumps([*ids], separators=(",", ":")))


def sweep_links(run_id: str, pages: Sequence[str]) -> str:
    """A line of Markdown that begins the description of a sweep's run: the UI folds all but three lines.

    pages: those of the runs on its front, best first, as `run_page` returns them.
    """
    if not pages:
        return ""
    experiment_id = pages[0].split("/")[2]
    found = [page.rpartition("/")[2] for page in pages]
    links = {
        "the front as a figure": f"{run_page(experiment_id, run_id)}/artifacts/front.html",
        "the runs on the front side by side": compare_page(experiment_id, found) if len(found) > 1 else "",
        "all runs with their metrics": runs_page(experiment_id),
    }
    # A text `Key=` in a tag is masked with what follows it, as it may be a secret.
    shown = (f"[{name}]({link.replace('Key=', '%4Bey=')})" for name, link in links.items() if link)
    return f"**Look at** {', '.join(shown)}."
