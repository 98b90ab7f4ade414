"""A run of the store with all that an account of it needs, checked part against part. Shell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.carbon.accounting import Accounting
    from pipeline.domain.fleet import Fleet
    from pipeline.domain.records import Records
    from pipeline.tracking.stored import Stored


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A finished run: its artifacts and its metrics, which agree."""

    config: Mapping[str, Any]
    about: Mapping[str, Any]
    """Its run.json."""
    ledger: pd.DataFrame
    """Columns: LEDGER_COLUMNS."""
    fleet: Fleet
    accounting: Accounting
    figures: Mapping[str, float]
    """Its metrics."""
    records: Records | None
    """None where it kept none (`per_request: false`)."""

    @classmethod
    def of(cls, stored: Stored, needed: Iterable[str] = ("requests_ok",)) -> StoredRun:
        """A run that answered requests and has the metrics that are needed.

        Raises ConfigError naming run and artifact or metric: for what is missing or cannot be, where metrics
        do not follow from the ledger, or, if it has records, ledger and metrics from these.
        """
        from pipeline.carbon.stored_ledger import checked_ledger, require_of_records, require_within
        from pipeline.domain.records import Records, checked_about
        from pipeline.results.stored_figures import by_ledger, by_records, by_window
        from pipeline.tracking.stored_config import rebuilt

        figures = stored.figures(needed)
        config, about, ledger = (
            stored.config("config.yaml"),
            stored.json("run.json"),
            stored.table("ledger.json"),
        )
        with stored.reading("config.yaml"):
            fleet, accounting = (rebuilt(config, group) for group in ("fleet", "accounting"))
        with stored.reading("run.json"):
            checked_about(about)
        with stored.reading("ledger.json"):
            ledger = checked_ledger(ledger, fleet)
            figures = by_ledger(stored.owner, figures, ledger, fleet, accounting)
            require_within(ledger, about["window_s"], fleet)
        by_window(stored.owner, figures, about["window_s"])
        records = None
        if stored.has_table("records.json"):
            table = stored.table("records.json")
            with stored.reading("records.json"):
                records = Records.of(table, about)
                by_records(stored.owner, figures, records)
            with stored.reading("ledger.json"):
                require_of_records(ledger, records, fleet, accounting)
        return cls(config, about, ledger, fleet, accounting, figures, records)
