"""Refusals, retries, timeouts and keys."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.carbon.grids.live import http_client
from pipeline.carbon.grids.live.electricity_maps import ElectricityMaps
from pipeline.carbon.grids.live.http_client import _however_written
from pipeline.domain.checks import ConfigError
from tests.carbon.grids.live.conftest import HOUR, NOW, Answer, Service, hour, maps, past


@pytest.mark.parametrize(
    ("path", "answer", "message"),
    [
        ("past-range", (401, {"error": "Invalid auth-token"}), "the key .Invalid auth-token.; check ELEC"),
        ("past-range", (404, {"status": "error", "message": "No recent data for zone 'XX'"}), "404 .No rec"),
        ("past-range", (500, {"error": "oops"}), "answered 500 .oops"),
        ("past-range", (429, {"message": "slow down"}, {"Retry-After": "0"}), "too many requests, even"),
        ("past-range", (200, "<html>"), "the answer is not JSON"),
        ("past-range", (200, {"zone": "DE"}), "answered without 'data'"),
        ("past-range", (200, {"data": [hour(NOW, None)]}), "carbonIntensity=None, which is not an intensity"),
        ("past-range", (200, {"data": [hour(NOW, -3)]}), "carbonIntensity=-3, which is not an intensity"),
        ("past-range", (200, {"data": [hour(NOW, 10**400)]}), "which is not an intensity"),
        ("past-range", (200, {"data": [hour(NOW, 5000)]}), "carbonIntensity=5000, which is not an intensity"),
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


def test_a_request_to_a_busy_service_is_repeated(service: Service, tmp_path: Path) -> None:
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
    with pytest.raises(ConfigError, match="no answer in time; grid.offline=true uses stored answers"):
        grid.steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    service.server.shutdown()
    service.server.server_close()
    with pytest.raises(ConfigError, match="cannot be reached"):
        grid.steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)


def test_an_answer_has_a_limit_of_size(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "MOST_BYTES", 200_000)
    packed = gzip.compress(b" " * 10_000_000)  # 10 kB

    def bomb(query: dict[str, str]) -> Answer:
        return 200, packed, {"Content-Encoding": "gzip"}

    service.answers = {"/carbon-intensity/past-range": bomb}
    with pytest.raises(ConfigError, match=r"past-range.: the answer is longer than 0.2 MB"):
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)


def test_an_answer_that_drips_is_late(service: Service, tmp_path: Path) -> None:
    def parts() -> Iterator[str]:
        for _ in range(100):
            time.sleep(0.05)
            yield "["

    def drip(query: dict[str, str]) -> Answer:
        return 200, parts()

    service.answers = {"/carbon-intensity/past-range": drip}
    begin = time.perf_counter()
    with pytest.raises(ConfigError, match="no answer in time"):
        maps(service, tmp_path, timeout_s=0.3, retries=0).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert time.perf_counter() - begin < 3  # 5 s for all of it


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nX: ", "a"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "0"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", "X: a\r\n"),
    ],
    ids=["statuses", "header", "length of a part", "trailers"],
)
def test_what_precedes_or_follows_an_answer_ends_too(
    service: Service, tmp_path: Path, first: str, again: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dripping:

        def drip() -> None:
            connection, _ = dripping.accept()
            connection.recv(10_000)
            connection.sendall(first.encode())
            with contextlib.suppress(OSError):  # the client has had enough
                for _ in range(60):
                    time.sleep(0.05)
                    connection.sendall(again.encode())
            connection.close()

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{dripping.getsockname()[1]}"
        grid = ElectricityMaps(url, cache_dir=str(tmp_path), timeout_s=0.3, retries=0)
        begin = time.perf_counter()
        with pytest.raises(ConfigError, match="no answer in time"):
            grid.steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
        assert time.perf_counter() - begin < 2  # 3 s for all of it


def test_json_without_an_end_of_nesting_is_one_line(service: Service, tmp_path: Path) -> None:
    service.answers = {"/carbon-intensity/past-range": lambda query: (200, "[" * 200_000)}
    with pytest.raises(ConfigError, match="the answer is not JSON"):
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)


def test_the_key_reaches_no_other_host_and_no_message(service: Service, tmp_path: Path) -> None:
    service.answers = {
        "/carbon-intensity/past-range": lambda query: (302, "", {"Location": f"{service.url}/steal"}),
    }
    with pytest.raises(ConfigError, match="answered 302"):
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert [path for path, _, _ in service.requests] == ["/carbon-intensity/past-range"]
    service.answers = {"/carbon-intensity/past-range": lambda query: (401, {"message": "bad token secret"})}
    with pytest.raises(ConfigError, match="bad token [*]{3}") as caught:
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        {"message": "bad request with auth-token: it's4711"},
        {"message": "x" * 450 + "it's4711"},  # cut in the middle of the key
        {"data": [hour(NOW, None, hint="it's4711")]},
        {"data": [hour(NOW, 1) | {"zone": "it's4711"}]},
        {"data": [hour(NOW, 1, emissionFactorType="it's4711")]},
        {"data": [{"carbonIntensity": 1, "auth": "it's4711"}]},
    ],
)
def test_an_answer_that_repeats_the_key_does_not_bring_it_out(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setenv("ELECTRICITYMAPS_API_KEY", "it's4711")
    service.answers = {"/carbon-intensity/past-range": lambda query: (200, answer)}
    with pytest.raises(ConfigError, match="grid: electricitymaps answered") as caught:
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert "*" in str(caught.value)
    assert "s4" not in "".join(traceback.format_exception(caught.value))


def test_a_long_answer_is_not_repeated_whole(service: Service, tmp_path: Path) -> None:
    rows = {"data": [hour(NOW, None, hint="\x1b[2J\n" * 100_000)]}
    service.answers = {"/carbon-intensity/past-range": lambda query: (200, rows)}
    with pytest.raises(ConfigError, match="carbonIntensity=None, which is not") as caught:
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert len(str(caught.value)) <= 500


def test_a_missing_key_makes_no_request(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ELECTRICITYMAPS_API_KEY")
    with pytest.raises(ConfigError, match="electricitymaps needs a key; set ELECTRICITYMAPS_API_KEY"):
        maps(service, tmp_path).steps("DE", NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert service.requests == []


def test_a_key_is_sought_in_a_time_that_grows_with_the_answer() -> None:
    """A pattern that could read `\\\\\\\\t` in two ways would try 2**60 of them here."""
    assert _however_written("a secret").sub("***", "a" + "\\\\t" * 60 + "!") == "a" + "\\\\t" * 60 + "!"
    assert _however_written("a secret").sub("***", "a\\\\tsec\\nret!") == "***!"
