"""Stored answers repeat a run; measured values replace forecasts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.carbon.grid import NotCoveredError
from pipeline.carbon.grids.live.electricity_maps import ElectricityMaps
from pipeline.carbon.grids.live.live import Live
from pipeline.carbon.grids.live.uk import UK
from pipeline.carbon.grids.live.watttime import WattTime
from pipeline.domain.checks import ConfigError
from tests.carbon.grids.live.conftest import HOUR, NOW, Answer, Service, maps, past
from tests.conftest import ROOT

FIXTURES = ROOT.parent / "shared" / "data" / "fixtures"


def test_answers_are_stored_and_serve_offline(service: Service, tmp_path: Path) -> None:
    grid = maps(service, tmp_path)
    begin, end = NOW - 30 * HOUR, NOW + 3 * HOUR
    steps = grid.steps("DE", begin, end)
    num_requests = len(service.requests)
    assert grid.steps("DE", begin, end) == steps  # a fresh forecast is not requested again
    assert len(service.requests) == num_requests
    service.server.shutdown()
    offline = ElectricityMaps(service.url, cache_dir=str(tmp_path), offline=True)
    assert offline.steps("DE", begin, end) == steps
    assert offline.about()["sha256"] == grid.about()["sha256"]
    assert "secret" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    with pytest.raises(
        ConfigError, match="the stored answers of electricitymaps do not cover FR .* or grid.offline=false"
    ):
        offline.steps("FR", begin, end)
    direct = ElectricityMaps(service.url, cache_dir=str(tmp_path), offline=True, emission_factor="direct")
    with pytest.raises(ConfigError, match="not cover DE"):
        direct.steps("DE", begin, end)


def test_an_error_states_how_far_the_answers_reach(service: Service, tmp_path: Path) -> None:
    grid = maps(service, tmp_path)
    first = NOW.replace(minute=0)
    with pytest.raises(NotCoveredError, match="forecasts at most 72 h") as beyond:
        grid.steps("DE", first, first + 100 * HOUR)
    assert beyond.value.until == NOW + 72 * HOUR
    grid.steps("DE", first, first + 2 * HOUR)
    offline = maps(service, tmp_path, offline=True)
    with pytest.raises(NotCoveredError, match="do not cover DE") as stored:
        offline.steps("DE", first, first + 100 * HOUR)
    assert stored.value.until == offline.steps("DE", first, stored.value.until)[-1][0] + HOUR


def test_measured_values_replace_forecasts(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = maps(service, tmp_path)
    first = NOW.replace(minute=0)
    foreseen = grid.steps("DE", first, first + 2 * HOUR)
    assert [value for _, value in foreseen] == [312, 101, 102]
    monkeypatch.setattr(Live, "now", lambda _: NOW + 5 * HOUR)
    measured = grid.steps("DE", first, first + 2 * HOUR)
    assert [value for _, value in measured] == [200 + 14 * 24 + k for k in (9, 10, 11)]


def test_long_periods_take_several_requests(service: Service, tmp_path: Path) -> None:
    begin = NOW - timedelta(days=14)
    steps = maps(service, tmp_path).steps("DE", begin, NOW - timedelta(days=1))
    assert len(steps) == 13 * 24 + 1
    assert len(service.requests) == 2


def test_a_gap_is_refused(service: Service, tmp_path: Path) -> None:
    def gappy(query: dict[str, str]) -> Answer:
        status, body, *_ = past(query)
        del body["data"][2]
        return status, body

    service.answers = {"/carbon-intensity/past-range": gappy}
    with pytest.raises(ConfigError, match="does not cover DE between"):
        maps(service, tmp_path).steps("DE", NOW - 6 * HOUR, NOW - 2 * HOUR)


def test_a_run_of_now_needs_no_forecast_and_partial_answers_are_stored(
    service: Service, tmp_path: Path
) -> None:
    service.answers = {"/carbon-intensity/forecast": lambda query: (500, {})}
    grid = maps(service, tmp_path, retries=0)
    assert [value for _, value in grid.steps("DE", NOW, NOW)] == [312]
    with pytest.raises(ConfigError, match="answered 500"):
        grid.steps("DE", NOW - 3 * HOUR, NOW + 3 * HOUR)
    offline = ElectricityMaps(service.url, cache_dir=str(tmp_path), offline=True)
    assert len(offline.steps("DE", NOW - 3 * HOUR, NOW - HOUR)) == 3


def test_a_run_is_repeated_as_of_its_time(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later answers do not change it."""
    grid = maps(service, tmp_path)
    window = NOW.replace(minute=0), NOW.replace(minute=0) + 2 * HOUR
    steps, about = grid.steps("DE", *window), grid.about()
    monkeypatch.setattr(Live, "now", lambda _: NOW + 6 * HOUR)
    assert grid.steps("DE", *window) != steps
    as_it_was = ElectricityMaps(service.url, cache_dir=str(tmp_path), offline=True, as_of=about["as_of"])
    assert as_it_was.steps("DE", *window) == steps
    assert as_it_was.about()["sha256"] == about["sha256"]


@pytest.mark.parametrize(
    "body", [[], "x", None, {"data": None}, {"data": [None]}, {"data": ["x"]}, {"data": {}}]
)
def test_an_unknown_shape_is_one_line(service: Service, tmp_path: Path, body: object) -> None:
    service.answers = {
        "/login": lambda query: (200, body), "/v3": lambda query: (200, body),
        "/intensity": lambda query: (200, body), "/carbon-intensity": lambda query: (200, body),
    }  # fmt: skip
    for grid, zone in (
        (ElectricityMaps(service.url, cache_dir=str(tmp_path)), "DE"),
        (UK(service.url, cache_dir=str(tmp_path)), "GB"),
        (WattTime(service.url, cache_dir=str(tmp_path)), "CAISO_NORTH"),
    ):
        with pytest.raises(ConfigError):
            grid.steps(zone, NOW - 3 * HOUR, NOW - 2 * HOUR)


@pytest.mark.parametrize("zone", ["", " ", "../escaped", "a/b"])
def test_a_zone_is_a_code(service: Service, tmp_path: Path, zone: str) -> None:
    with pytest.raises(ConfigError, match="a live source needs a zone code"):
        maps(service, tmp_path).steps(zone, NOW, NOW)
    assert service.requests == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://x"}, "grid.url: must be a URL"),
        ({"emission_factor": "marginal"}, "must be lifecycle or direct"),
        ({"timeout_s": 0}, "timeout_s must be a number > 0"),
        ({"offline": "yes"}, "grid.offline: must be true or false"),
        ({"retries": -1}, "grid.retries: must be a whole number"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ElectricityMaps(**options)


@pytest.mark.skipif(not FIXTURES.exists(), reason="the recorded answers are not here")
@pytest.mark.parametrize(
    ("kind", "zone", "files", "begin", "end"),
    [
        (ElectricityMaps, "DE", {"/carbon-intensity/past-range": "electricitymaps/past_range.json"}, 0, 2),
        (ElectricityMaps, "DE", {"/carbon-intensity/past-range": "electricitymaps/history.json"}, 0, 2),
        (UK, "GB", {"/intensity/": "uk_carbon_intensity/intensity_date.json"}, 0, 1),
        (
            WattTime,
            "CAISO_NORTH",
            {"/login": "watttime/login.json", "/v3/historical": "watttime/historical.json"},
            -24,
            -23.9,
        ),
    ],
)
def test_answers_in_the_official_shapes(
    service: Service,
    tmp_path: Path,
    kind: Callable[..., Live],
    zone: str,
    files: dict[str, str],
    begin: float,
    end: float,
) -> None:
    def from_file(name: str) -> Callable[[dict[str, str]], Answer]:
        body = json.loads((FIXTURES / name).read_text())
        if "history" in body:
            body = {"data": body["history"]}
        return lambda query: (200, body)

    service.answers = {path: from_file(name) for path, name in files.items()}
    midnight = NOW.replace(hour=0, minute=0)
    grid = kind(service.url, cache_dir=str(tmp_path))
    steps = grid.steps(zone, midnight + begin * HOUR, midnight + end * HOUR)
    assert len(steps) >= 2
    assert all(0 < value < 1000 for _, value in steps)
