"""`carbonedge report RUN`: the audit of a run or sweep as one HTML and one JSON file. Shell."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.terminal import cli
from pipeline.domain.checks import require

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.tracking.stored import Stored
    from pipeline.tracking.tracking import Tracking

HELP = cli.Help(
    "carbonedge report RUN [tracking.uri=...]",
    "Writes the audit of a run or a sweep: where every gram comes from.",
    "carbonedge report 1f0c4be27a604c7f9d3f0d6a8f5b21c7",
)


def report(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Write both files into the working directory; the store is only read."""
    from pipeline.results.audit.audit_page import audit_json, audit_page
    from pipeline.results.pages.output_file import write_output
    from pipeline.results.terminal import terminal

    tracking = cli.tracking(overrides)
    tracking.reach()
    stored = tracking.stored(names[0])
    require(
        "sweep" in stored.tags or "boundary" in stored.tags,
        f"run {stored.run_id} ({stored.name}): is neither a run nor a sweep that this version made",
    )
    audit = _of_sweep(tracking, stored) if "sweep" in stored.tags else _of_run(stored)
    page, data = (Path(f"audit-{stored.run_id}.{kind}") for kind in ("html", "json"))
    write_output(page, audit_page(audit))
    write_output(data, audit_json(audit))
    terminal().print(f"wrote {page} and {data}")


def _of_run(stored: Stored) -> dict[str, Any]:
    from pipeline.commands.stored_run import StoredRun
    from pipeline.results.audit.run_audit import AuditedRun, identity, run_audit

    run, about = StoredRun.of(stored), identity(stored.run_id, stored.name, stored.status, stored.tags)
    return run_audit(
        AuditedRun(
            about, stored.tags, run.figures, run.about, run.ledger, run.config, run.fleet, run.accounting
        )
    )


def _of_sweep(tracking: Tracking, stored: Stored) -> dict[str, Any]:
    from pipeline.results.audit.run_audit import identity
    from pipeline.results.audit.sweep_audit import sweep_audit

    trials = tracking.children(stored.run_id)
    done = trials[trials["status"] == "FINISHED"]
    require(len(done) > 0, f"run {stored.run_id} ({stored.name}): no trial of it is FINISHED")
    _require_figures(trials)
    return sweep_audit(
        identity(stored.run_id, stored.name, stored.status, stored.tags),
        stored.figures(),
        stored.params,
        trials,
        _compared(stored),
        _of_run(tracking.stored(str(done["run_id"].iloc[0]))),
    )


def _require_figures(trials: pd.DataFrame) -> None:
    """Raise ConfigError naming trial and metric for a value that cannot be; trials: `StoredRuns.children`."""
    from pipeline.results.metric_values import require_metrics

    keys = {str(key): str(key).removeprefix("metrics.") for key in trials if str(key).startswith("metrics.")}
    for run_id, name, row in zip(
        trials["run_id"], trials["name"], trials[[*keys]].to_dict("records"), strict=True
    ):
        known = {keys[str(key)]: value for key, value in row.items() if value == value}  # not NaN
        require_metrics(f"run {run_id} ({name})", known)


def _compared(stored: Stored) -> list[dict[Hashable, Any]]:
    """The rows of a sweep's summary, where it has one. Raises ConfigError for a figure that cannot be."""
    from pipeline.results.metric_values import with_metrics
    from pipeline.results.repetition import with_comparisons

    if not stored.has("summary.json"):
        return []
    table = stored.table("summary.json")
    with stored.reading("summary.json"):
        table = with_comparisons("summary", with_metrics("summary", table, mean=True))
    return table.to_dict("records")


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(report, HELP, num_names=1)
