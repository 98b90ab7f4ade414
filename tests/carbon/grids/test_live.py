"""Live sources against a local server that answers in the official shapes; what is kept repeats a run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.carbon.grid import require_average
from pipeline.carbon.grids.electricity_maps import ElectricityMaps
from pipeline.carbon.grids.live import Live
from pipeline.carbon.grids.uk import UK
from pipeline.carbon.grids.watttime import WattTime
from pipeline.domain.checks import ConfigError
from tests.conftest import ROOT

NOW = datetime(2030, 1, 15, 9, 48, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIXTURES = ROOT.parent / "shared" / "data" / "fixtures"
Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Service:
    """A server that answers as it is told, path by path, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[dict[str, str]], Answer]] = {}
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                service.asked.append((parts.path, query, dict(self.headers)))
                path = next((p for p in service.answers if parts.path.startswith(p)), "")
                status, body, *more = (
                    service.answers[path](query) if path else (404, {"message": "no such path"})
                )
                self.send_response(status)
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write((body if isinstance(body, str) else json.dumps(body)).encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(Live, "now", lambda _: NOW)
    for name in ("ELECTRICITYMAPS_API_KEY", "WATTTIME_USERNAME", "WATTTIME_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


def hour(at: datetime, value: object, **more: object) -> dict[str, object]:
    text = at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    row = {"zone": "DE", "carbonIntensity": value, "datetime": text, "emissionFactorType": "lifecycle"}
    return row | {"isEstimated": False, "estimationMethod": None} | more


def past(query: dict[str, str]) -> Answer:
    """Hour k of the month has 200 + k g/kWh."""
    start, end = (datetime.fromisoformat(query[key]) for key in ("start", "end"))
    hours = [start + k * HOUR for k in range(int((end - start) / HOUR))]
    return 200, {"zone": "DE", "data": [hour(at, 200 + (at.day - 1) * 24 + at.hour) for at in hours]}


def forecast(query: dict[str, str]) -> Answer:
    first = NOW.replace(minute=0)
    rows = [hour(first + k * HOUR, 100 + k) for k in range(int(query["horizonHours"]) + 1)]
    rows = [{key: row[key] for key in ("carbonIntensity", "datetime")} for row in rows]
    return 200, {"zone": "DE", "forecast": rows, "updatedAt": "2030-01-15T09:40:00.000Z"}


def maps(service: Service, folder: Path, **options: Any) -> ElectricityMaps:
    path = "/carbon-intensity"
    service.answers = {
        f"{path}/past-range": past,
        f"{path}/forecast": forecast,
        f"{path}/latest": lambda query: (200, hour(NOW.replace(minute=0), 312)),
    } | service.answers
    return ElectricityMaps(service.url, cache_dir=str(folder), **options)


def test_what_is_past_what_is_now_and_what_is_foreseen(service: Service, tmp_path: Path) -> None:
    grid = maps(service, tmp_path)
    first = NOW.replace(minute=0)
    steps = grid.steps("DE", first - 2 * HOUR + HOUR / 2, first + 2 * HOUR)
    # Of 15 January: hours 7 and 8 are past, 9 is the present one, 10 and 11 are foreseen.
    values = [200 + 14 * 24 + 7, 200 + 14 * 24 + 8, 312, 101, 102]
    assert steps == [(first + (k - 2) * HOUR, value) for k, value in enumerate(values)]
    assert [path.rpartition("/")[2] for path, _, _ in service.asked] == ["past-range", "forecast", "latest"]
    assert all(query["zone"] == "DE" for _, query, _ in service.asked)
    assert all(headers["auth-token"] == "secret" for _, _, headers in service.asked)


def test_what_was_answered_is_kept_and_serves_offline(service: Service, tmp_path: Path) -> None:
    grid = maps(service, tmp_path)
    begin, end = NOW - 30 * HOUR, NOW + 3 * HOUR
    steps = grid.steps("DE", begin, end)
    asked = len(service.asked)
    assert grid.steps("DE", begin, end) == steps  # a fresh forecast is not asked for again
    assert len(service.asked) == asked
    service.server.shutdown()
    offline = ElectricityMaps(service.url, cache_dir=str(tmp_path), offline=True)
    assert offline.steps("DE", begin, end) == steps
    assert offline.about()["sha256"] == grid.about()["sha256"]
    assert "secret" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    with pytest.raises(
        ConfigError, match="what is kept of electricitymaps does not cover FR .* or offline=false"
    ):
        offline.steps("FR", begin, end)
    direct = ElectricityMaps(service.url, cache_dir=str(tmp_path), offline=True, emission_factor="direct")
    with pytest.raises(ConfigError, match="does not cover DE"):
        direct.steps("DE", begin, end)


def test_what_was_measured_replaces_what_was_foreseen(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = maps(service, tmp_path)
    first = NOW.replace(minute=0)
    foreseen = grid.steps("DE", first, first + 2 * HOUR)
    assert [value for _, value in foreseen] == [312, 101, 102]
    monkeypatch.setattr(Live, "now", lambda _: NOW + 5 * HOUR)
    measured = grid.steps("DE", first, first + 2 * HOUR)
    assert [value for _, value in measured] == [200 + 14 * 24 + k for k in (9, 10, 11)]


def test_long_times_are_asked_for_in_parts(service: Service, tmp_path: Path) -> None:
    begin = NOW - timedelta(days=14)
    steps = maps(service, tmp_path).steps("DE", begin, NOW - timedelta(days=1))
    assert len(steps) == 13 * 24 + 1
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    ("path", "answer", "message"),
    [
        ("past-range", (401, {"error": "Invalid auth-token"}), "the key .Invalid auth-token.; look at ELEC"),
        ("past-range", (404, {"status": "error", "message": "No recent data for zone 'XX'"}), "404 .No rec"),
        ("past-range", (500, {"error": "oops"}), "answered 500 .oops"),
        ("past-range", (429, {"message": "slow down"}, {"Retry-After": "0"}), "asked too often, even after"),
        ("past-range", (200, "<html>"), "answered what is no JSON"),
        ("past-range", (200, {"zone": "DE"}), "answered without 'data'"),
        ("past-range", (200, {"data": [hour(NOW, None)]}), "carbonIntensity=None, which is no intensity"),
        ("past-range", (200, {"data": [hour(NOW, -3)]}), "carbonIntensity=-3, which is no intensity"),
        ("past-range", (200, {"data": [hour(NOW, 5000)]}), "carbonIntensity=5000, which is no intensity"),
        ("past-range", (200, {"data": [{"carbonIntensity": 1}]}), "without a time 'datetime'"),
        ("past-range", (200, {"data": [hour(NOW, 1) | {"datetime": "2030-01-15T07:00:00"}]}), "offset"),
        ("past-range", (200, {"data": [hour(NOW, 1, emissionFactorType="direct")]}), "direct factors"),
        ("past-range", (200, {"data": []}), "electricitymaps does not cover DE between"),
    ],
)  # fmt: skip
def test_a_bad_answer_is_one_line(
    service: Service, tmp_path: Path, path: str, answer: Any, message: str
) -> None:
    service.answers = {f"/carbon-intensity/{path}": lambda query: answer}
    with pytest.raises(ConfigError, match=message):
        maps(service, tmp_path, retries=1).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)


def test_a_busy_service_is_asked_again(service: Service, tmp_path: Path) -> None:
    count = 0

    def busy(query: dict[str, str]) -> Answer:
        nonlocal count
        count += 1
        return (429, {}, {"Retry-After": "1"}) if count < 2 else past(query)

    service.answers = {"/carbon-intensity/past-range": busy}
    begin = time.perf_counter()
    assert len(maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)) == 2
    assert count == 2
    assert time.perf_counter() - begin >= 1  # as it asked


def test_no_answer_in_time(service: Service, tmp_path: Path) -> None:
    def slow(query: dict[str, str]) -> Answer:
        time.sleep(1)
        return past(query)

    service.answers = {"/carbon-intensity/past-range": slow}
    grid = maps(service, tmp_path, timeout_s=0.1, retries=0)
    with pytest.raises(ConfigError, match="no answer in time; grid.offline=true takes what is kept"):
        grid.steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    service.server.shutdown()
    service.server.server_close()
    with pytest.raises(ConfigError, match="cannot be reached"):
        grid.steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)


def test_a_gap_is_told(service: Service, tmp_path: Path) -> None:
    def gappy(query: dict[str, str]) -> Answer:
        status, body, *_ = past(query)
        del body["data"][2]
        return status, body

    service.answers = {"/carbon-intensity/past-range": gappy}
    with pytest.raises(ConfigError, match="does not cover DE between"):
        maps(service, tmp_path).steps("DE", NOW - 6 * HOUR, NOW - 2 * HOUR)


def test_another_zone_than_asked_is_refused(service: Service, tmp_path: Path) -> None:
    """As where a service falls back to the place of who asks."""
    service.answers = {
        "/carbon-intensity/past-range": lambda query: (200, {"data": [hour(NOW - 3 * HOUR, 1, zone="FR")]})
    }
    with pytest.raises(ConfigError, match="answered for 'FR', and was asked for 'DE'"):
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert not list(tmp_path.rglob("*.json"))


def test_the_key_is_shown_to_nobody_else(service: Service, tmp_path: Path) -> None:
    service.answers = {
        "/carbon-intensity/past-range": lambda query: (302, "", {"Location": f"{service.url}/steal"}),
    }
    with pytest.raises(ConfigError, match="answered 302"):
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert [path for path, _, _ in service.asked] == ["/carbon-intensity/past-range"]
    service.answers = {"/carbon-intensity/past-range": lambda query: (401, {"message": "bad token secret"})}
    with pytest.raises(ConfigError, match="bad token [*]{3}") as caught:
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert "secret" not in str(caught.value)


def test_a_run_of_now_needs_no_forecast_and_what_came_is_kept(service: Service, tmp_path: Path) -> None:
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
    """What was answered since does not change it."""
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
    with pytest.raises(ConfigError, match="must be asked for a zone by its code"):
        maps(service, tmp_path).steps(zone, NOW, NOW)
    assert service.asked == []


def test_a_broken_answer_on_disk_is_named(service: Service, tmp_path: Path) -> None:
    grid = maps(service, tmp_path)
    grid.steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    (kept,) = tmp_path.rglob("*.json")
    for text in ("{", "[]", kept.read_text().replace("2", "-2")):
        kept.write_text(text)
        with pytest.raises(ConfigError, match="is broken"):
            grid.steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)


def test_a_missing_key_or_zone_asks_nobody(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ELECTRICITYMAPS_API_KEY")
    with pytest.raises(ConfigError, match="electricitymaps needs a key; set ELECTRICITYMAPS_API_KEY"):
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert service.asked == []


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


def test_britain_by_the_half_hour(service: Service, tmp_path: Path) -> None:
    def halves(query: dict[str, str]) -> Answer:
        first = NOW.replace(minute=0) - HOUR
        times = [first + k * HOUR / 2 for k in range(6)]
        rows = [
            {
                "from": f"{at:%Y-%m-%dT%H:%MZ}",
                "to": f"{at + HOUR / 2:%Y-%m-%dT%H:%MZ}",
                "intensity": {"forecast": 180 + k, "actual": 190 + k if k < 3 else None, "index": "moderate"},
            }
            for k, at in enumerate(times)
        ]
        return 200, {"data": rows}

    service.answers = {"/intensity/": halves}
    grid = UK(service.url, cache_dir=str(tmp_path))
    steps = grid.steps("GB", NOW - HOUR / 2, NOW + HOUR / 2)
    assert [value for _, value in steps] == [192, 183, 184]
    assert steps[0][0] == NOW.replace(minute=0)
    with pytest.raises(ConfigError, match="the UK's service knows GB only .'DE'"):
        grid.steps("DE", NOW, NOW)


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


def test_watttime_tells_pounds_and_is_marginal(service: Service, tmp_path: Path) -> None:
    grid = watttime(service, tmp_path)
    steps = grid.steps("CAISO_NORTH", NOW.replace(minute=30), NOW + timedelta(minutes=20))
    assert [value for _, value in steps] == pytest.approx([453.59237] * len(steps))
    assert [path for path, _, _ in service.asked] == ["/login", "/v3/historical", "/v3/forecast"]
    assert service.asked[0][2]["Authorization"].startswith("Basic ")
    assert service.asked[1][2]["Authorization"] == "Bearer T"
    with pytest.raises(ConfigError, match="a marginal source cannot account for what a run emitted"):
        require_average(grid)
    require_average(watttime(service, tmp_path, signal="co2_aoer"))
    with pytest.raises(ConfigError, match="must be co2_moer or co2_aoer"):
        WattTime(signal="health_damage")


def test_an_index_is_no_intensity(service: Service, tmp_path: Path) -> None:
    index = {"data": [{"point_time": NOW.isoformat(), "value": 37.0}], "meta": {"units": "percentile"}}
    service.answers = {"/v3/historical": lambda query: (200, index)}
    with pytest.raises(ConfigError, match="answered in 'percentile', not lbs_co2_per_mwh"):
        watttime(service, tmp_path).steps("CAISO_NORTH", NOW - HOUR, NOW - HOUR / 2)


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


@pytest.mark.skipif(not FIXTURES.exists(), reason="the answers to validate against are not here")
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
    def told(name: str) -> Callable[[dict[str, str]], Answer]:
        body = json.loads((FIXTURES / name).read_text())
        if "history" in body:
            body = {"data": body["history"]}
        return lambda query: (200, body)

    service.answers = {path: told(name) for path, name in files.items()}
    midnight = NOW.replace(hour=0, minute=0)
    grid = kind(service.url, cache_dir=str(tmp_path))
    steps = grid.steps(zone, midnight + begin * HOUR, midnight + end * HOUR)
    assert len(steps) >= 2
    assert all(0 < value < 1000 for _, value in steps)
