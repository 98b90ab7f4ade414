"""Values in lb/MWh; the marginal signal."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.carbon.grid import require_average
from pipeline.carbon.grids.live.watttime import WattTime
from pipeline.domain.checks import ConfigError
from tests.carbon.grids.live.conftest import HOUR, NOW, Answer, Service


def watttime(service: Service, folder: Path, **options: Any) -> WattTime:
    def rows(query: dict[str, str]) -> Answer:
        first = datetime.fromisoformat(query["start"]) if "start" in query else NOW.replace(minute=45)
        times = [first + k * timedelta(minutes=5) for k in range(13)]
        data = [{"point_time": at.isoformat(), "value": 1000.0} for at in times]
        return 200, {"data": data, "meta": {"units": "lbs_co2_per_mwh", "signal_type": query["signal_type"]}}

    service.answers = {
        "/login": lambda query: (200, {"token": "T"}),
        "/v3/historical": rows,
        "/v3/forecast": rows,
    } | service.answers
    return WattTime(service.url, cache_dir=str(folder), **options)


def test_watttime_answers_in_pounds_and_is_marginal(service: Service, tmp_path: Path) -> None:
    grid = watttime(service, tmp_path)
    steps = grid.steps("CAISO_NORTH", NOW.replace(minute=30), NOW + timedelta(minutes=20))
    assert [value for _, value in steps] == pytest.approx([453.59237] * len(steps))
    assert [path for path, _, _ in service.requests] == ["/login", "/v3/historical", "/v3/forecast"]
    assert service.requests[0][2]["Authorization"].startswith("Basic ")
    assert service.requests[1][2]["Authorization"] == "Bearer T"
    with pytest.raises(ConfigError, match="a marginal source cannot account for what a run emitted"):
        require_average(grid)
    require_average(watttime(service, tmp_path, signal="co2_aoer"))
    with pytest.raises(ConfigError, match="must be co2_moer or co2_aoer"):
        WattTime(signal="health_damage")


@pytest.mark.parametrize("repeated", ["the\thorse's  key", "the\nhorse\\'s key", "t\u200bhe horse's key\""])
def test_a_password_that_is_repeated_in_another_form_does_not_come_out(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeated: str
) -> None:
    monkeypatch.setenv("WATTTIME_PASSWORD", "the horse's key")
    service.answers = {"/v3/historical": lambda query: (400, {"message": [f"bad {repeated}"]})}
    grid = watttime(service, tmp_path)
    with pytest.raises(ConfigError) as caught:
        grid.steps("CAISO_NORTH", NOW - HOUR, NOW - HOUR / 2)
    assert "*" in str(caught.value)
    assert "key" not in str(caught.value)


def test_an_index_is_no_intensity(service: Service, tmp_path: Path) -> None:
    index = {"data": [{"point_time": NOW.isoformat(), "value": 37.0}], "meta": {"units": "percentile"}}
    service.answers = {"/v3/historical": lambda query: (200, index)}
    with pytest.raises(ConfigError, match="answered in 'percentile', not lbs_co2_per_mwh"):
        watttime(service, tmp_path).steps("CAISO_NORTH", NOW - HOUR, NOW - HOUR / 2)


@pytest.mark.parametrize("repeated", ["a-token", "c2VjcmV0OnNlY3JldA=="])
def test_neither_token_nor_password_comes_out(service: Service, tmp_path: Path, repeated: str) -> None:
    service.answers = {
        "/login": lambda query: (200, {"token": "a-token"}),
        "/v3/historical": lambda query: (200, {"meta": {"units": f"of {repeated}"}}),
    }
    with pytest.raises(ConfigError, match=r"answered in 'of \*{3}', not lbs_co2_per_mwh"):
        watttime(service, tmp_path).steps("CAISO_NORTH", NOW - HOUR, NOW - HOUR / 2)
