"""A dated log under a grid that varies is accounted now unless start_utc is set: a line says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.carbon.grids.static import Static
from pipeline.carbon.grids.synthetic import Synthetic
from pipeline.domain.fleet import Device, Fleet
from pipeline.trial.start_notes import start_notes

FIRST = datetime(2021, 6, 1, 10, tzinfo=UTC)
FLEET = Fleet("one", (Device("pi", memory_bytes=1, active_w=1, zone="DE"),))
FIXED = Fleet("one", (Device("pi", memory_bytes=1, active_w=1, zone="DE", intensity_g_per_kwh=450),))


def test_the_line_names_the_time_and_the_key() -> None:
    assert start_notes(FIRST, None, Synthetic(), FLEET) == [
        "the log's first request is of 2021-06-01T10:00:00Z, and the run is accounted from now on; "
        "start_utc=2021-06-01T10:00:00Z accounts it in the log's own time"
    ]


@pytest.mark.parametrize(
    "given",
    [
        (None, None, Synthetic(), FLEET),
        (FIRST, "2021-06-01T10:00", Synthetic(), FLEET),
        (FIRST, None, Static(), FLEET),
        (FIRST, None, Synthetic(), FIXED),
    ],
)
def test_no_line_where_the_time_is_set_or_makes_no_difference(given: Any) -> None:
    assert start_notes(*given) == []
