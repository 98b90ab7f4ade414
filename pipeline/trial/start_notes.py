"""Where a log has a time of its own, and the run that replays it is accounted at another: one line. Pure."""

from __future__ import annotations

from datetime import datetime

from pipeline.carbon.grid import Grid
from pipeline.carbon.grids.static import Static
from pipeline.domain.fleet import Fleet


def start_notes(first_utc: datetime | None, start_utc: str | None, grid: Grid, fleet: Fleet) -> list[str]:
    """A line on a log whose first request is dated, where `start_utc` is not set and the grid varies.

    first_utc: when that request was, as far as the workload knows.
    """
    varies = not isinstance(grid, Static) and any(d.intensity_g_per_kwh is None for d in fleet.devices)
    if first_utc is None or start_utc is not None or not varies:
        return []
    own = first_utc.isoformat().replace("+00:00", "Z")
    return [
        f"the log's first request is of {own}, and the run is accounted from now on; start_utc={own} "
        "accounts it in the log's own time"
    ]
