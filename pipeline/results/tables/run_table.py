"""A single run's headline metrics, printed. Pure, except that it prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pipeline.domain.trial_result import TrialResult
from pipeline.results.tables.front_table import HEADLINE
from pipeline.results.units import scaled, scaled_label

SUMMARY = (
    *HEADLINE, "latency_ms_predicted", "energy_j_per_inf", "top1_agreement",
    "latency_ms_p95", "slo_miss_rate", "regret_to_oracle", "requests_rejected", "requests_failed",
)  # fmt: skip
"""Metrics shown of a single run, where known; counts of lost requests only where there are some."""


def print_result(console: Console, result: TrialResult) -> None:
    """Print a run's name, headline metrics, id and boundary; its labels where it has no metrics."""
    shown = Table(title=result.name, show_header=False)
    for key in SUMMARY:
        lost = key.startswith("requests_")
        if key in result.metrics and not (lost and not result.metrics[key]):
            title, factor = scaled_label(key, result.metrics[key])
            shown.add_row(title, scaled(factor, result.metrics[key]))
    if not result.metrics:
        for label, value in result.labels.items():
            shown.add_row(label, value)
    console.print(shown)
    console.print(f"Run {result.run_id}")
    if result.boundary:
        console.print(result.boundary, style="dim")
