"""Past, present and later hours; answers with wrong fields."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.carbon.grids.live.live import Live
from pipeline.domain.checks import ConfigError
from tests.carbon.grids.live.conftest import HOUR, NOW, Answer, Service, hour, maps


def test_past_present_and_forecast_hours(service: Service, tmp_path: Path) -> None:
    grid = maps(service, tmp_path)
    first = NOW.replace(minute=0)
    steps = grid.steps("DE", first - 2 * HOUR + HOUR / 2, first + 2 * HOUR)
    # Of 15 January: hours 7 and 8 are past, 9 is the present one, 10 and 11 are forecasts.
    values = [200 + 14 * 24 + 7, 200 + 14 * 24 + 8, 312, 101, 102]
    assert steps == [(first + (k - 2) * HOUR, value) for k, value in enumerate(values)]
    assert [path.rpartition("/")[2] for path, _, _ in service.requests] == [
        "past-range",
        "forecast",
        "latest",
    ]
    assert all(query["zone"] == "DE" for _, query, _ in service.requests)
    assert all(headers["auth-token"] == "secret" for _, _, headers in service.requests)


def test_an_answer_for_another_zone_is_refused(service: Service, tmp_path: Path) -> None:
    """As where a service falls back to the caller's place."""
    service.answers = {
        "/carbon-intensity/past-range": lambda query: (200, {"data": [hour(NOW - 3 * HOUR, 1, zone="FR")]})
    }
    with pytest.raises(ConfigError, match="answered for 'FR' instead of 'DE'"):
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert not list(tmp_path.rglob("*.json"))


def test_a_clock_change_is_no_gap(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """31 March 2030 has 23 hours in Berlin; answers with its offsets are the same hours of UTC."""
    monkeypatch.setattr(Live, "now", lambda _: datetime(2030, 4, 2, tzinfo=UTC))
    begin = datetime(2030, 3, 30, 22, tzinfo=UTC)

    def local(query: dict[str, str]) -> Answer:
        hours = [begin + k * HOUR for k in range(8)]
        offsets = [2 if at >= datetime(2030, 3, 31, 1, tzinfo=UTC) else 1 for at in hours]
        rows = [
            hour(at, 10 + k) | {"datetime": f"{at + offset * HOUR:%Y-%m-%dT%H:%M}:00+0{offset}:00"}
            for k, (at, offset) in enumerate(zip(hours, offsets, strict=True))
        ]
        return 200, {"data": rows}

    service.answers = {"/carbon-intensity/past-range": local}
    steps = maps(service, tmp_path).steps("DE", begin, begin + 6 * HOUR)
    assert steps == [(begin + k * HOUR, 10 + k) for k in range(7)]
