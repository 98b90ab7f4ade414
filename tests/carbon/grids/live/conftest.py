"""A local server that answers in the official shapes."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.carbon.grids.live.electricity_maps import ElectricityMaps
from pipeline.carbon.grids.live.live import Live

NOW = datetime(2030, 1, 15, 9, 48, tzinfo=UTC)


HOUR = timedelta(hours=1)


def _parts(body: Any) -> Iterator[bytes]:
    """What is sent one after the other: bytes as they are, the texts of a generator, others as JSON."""
    if isinstance(body, bytes):
        yield body
    elif isinstance(body, Iterator):
        yield from (text.encode() for text in body)
    else:
        yield (body if isinstance(body, str) else json.dumps(body)).encode()


Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Service:
    """A server with an answer for each path, which records the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[dict[str, str]], Answer]] = {}
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                service.requests.append((parts.path, query, dict(self.headers)))
                path = next((p for p in service.answers if parts.path.startswith(p)), "")
                status, body, *more = (
                    service.answers[path](query) if path else (404, {"message": "no such path"})
                )
                self.send_response(status)
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
                self.end_headers()
                for part in _parts(body):
                    with contextlib.suppress(OSError):  # the client has had enough
                        self.wfile.write(part)

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
