"""What a server answers has an end, and is answered by no other."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.tracking import answer_limits, patient_client
from pipeline.tracking.mlflow_store import required_client
from tests.tracking.conftest import ENVIRONMENT

Answers = Callable[[str], tuple[int, dict[str, str], bytes]]
RUN = {"run": {"info": {"run_id": "r", "artifact_uri": "mlflow-artifacts:/1/r/artifacts"}, "data": {}}}


@contextmanager
def answering(answers: Answers) -> Iterator[str]:
    """The address of a server whose answers, by path, are status, headers and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # the client has had enough
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)
    monkeypatch.setattr(patient_client, "PAUSES_S", ())
    monkeypatch.setattr(answer_limits, "MOST_BYTES", 1_000_000)


def files(num_bytes: int, status: int = 200) -> Answers:
    """A run with an artifact of that size, which has that status."""

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        if "/artifacts/1/r/" in path:
            return status, {}, b" " * num_bytes
        return 200, {}, json.dumps(RUN if "runs/get" in path else {"files": []}).encode()

    return answer


@pytest.mark.parametrize("packed", [lambda body: body, gzip.compress], ids=["as it is", "packed"])
@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_has_a_limit_of_size(packed: Callable[[bytes], bytes], status: int) -> None:
    body = packed(json.dumps(RUN).encode() + b" " * 5_000_000)
    headers = {"Content-Encoding": "gzip"} if len(body) < 1_000_000 else {}
    with (
        answering(lambda path: (status, headers, body)) as uri,
        pytest.raises(ConfigError, match=r"cannot use .*: AnswerError: an answer is longer than 1.0 MB$"),
        required_client(uri) as client,
    ):
        client.get_run("r")


def test_a_file_may_be_longer_than_an_answer(tmp_path: Path) -> None:
    with answering(files(3_000_000)) as uri, required_client(uri) as client:
        path = client.download_artifacts("r", "records.json", str(tmp_path))
    assert Path(path).stat().st_size == 3_000_000


def test_a_file_has_a_limit_too_whatever_its_server_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tracking.answer_limits.MOST_FILE_BYTES", 2_000_000)
    with (
        answering(files(3_000_000)) as uri,
        pytest.raises(ConfigError, match="an answer is longer than 2.0 MB"),
        required_client(uri) as client,
    ):
        client.download_artifacts("r", "records.json", str(tmp_path))


def test_a_file_that_becomes_a_folder_is_not_fetched(tmp_path: Path) -> None:
    """A server that is asked twice may answer that it is one, of many large files."""
    asked: list[str] = []

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        if "/artifacts/1/r/" in path:
            return 200, {}, b"{}"
        entries = [{"path": "a", "is_dir": False, "file_size": 3}]
        return 200, {}, json.dumps(RUN if "runs/get" in path else {"files": entries}).encode()

    with answering(answer) as uri, required_client(uri) as client:
        path = client.download_artifacts("r", "run.json", str(tmp_path))
    assert Path(path).read_bytes() == b"{}"
    assert not [each for each in asked if "path=" in each]


def test_the_reason_why_there_is_no_file_may_not(tmp_path: Path) -> None:
    with (
        answering(files(3_000_000, status=400)) as uri,
        pytest.raises(ConfigError, match="an answer is longer than 1.0 MB"),
        required_client(uri) as client,
    ):
        client.download_artifacts("r", "records.json", str(tmp_path))


@pytest.mark.parametrize("redirected", ["runs/get", "/artifacts/1/r/"])
def test_a_redirect_to_another_host_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redirected: str
) -> None:
    asked = []

    def elsewhere(path: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        return files(10)(path)

    with answering(elsewhere) as other:

        def answer(path: str) -> tuple[int, dict[str, str], bytes]:
            return (302, {"Location": f"{other}{path}"}, b"") if redirected in path else files(10)(path)

        with answering(answer) as uri:
            with (
                pytest.raises(ConfigError, match="a redirect is not followed without MLFLOW_ALLOW_HTTP_RED"),
                required_client(uri) as client,
            ):
                client.download_artifacts("r", "records.json", str(tmp_path))
            assert asked == []
            monkeypatch.setenv("MLFLOW_ALLOW_HTTP_REDIRECTS", "true")
            with required_client(uri) as client:
                client.download_artifacts("r", "records.json", str(tmp_path))
            assert len(asked) == 1
