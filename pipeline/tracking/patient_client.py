"""An MLflow client whose requests are repeated for a while and bounded in time, and why one failed. Shell."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pipeline.domain.checks import ConfigError
from pipeline.domain.credentials import masked
from pipeline.domain.printable import printable
from pipeline.host.time_limit import within
from pipeline.tracking.answer_limits import AnswerError
from pipeline.tracking.artifact_address import allowed_folder, require_own_address, require_runs_own_folder

if TYPE_CHECKING:
    from mlflow.entities import FileInfo
    from mlflow.tracking import MlflowClient

BAD_REQUEST = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
"""MLflow's error codes for requests that a retry does not help."""
PAUSES_S = (0.1, 0.4, 1.0)
"""Pauses before a request that failed is made again."""
PATIENCE_S = 5.0
"""A request that took longer than this to fail is not made again."""
BUSY = (429, 502, 503, 504)
"""HTTP statuses by which a server, or a proxy before it, says that it will answer later."""
BUSY_PAUSE_S = 2.0
ANSWER_S = 30.0
"""Longest time for a whole answer: the time limit of a connection counts from byte to byte."""
FILES_S = 600.0
"""The same for requests that move files."""
FILES = ("log_artifacts", "download_artifacts")
ONCE = ("create_run", "create_model_version")
"""Requests that are not simply made again, as the one that failed may have been obeyed (see `once`)."""
FORBIDDEN = (401, 403)
"""HTTP statuses by which a server says that this account may not do that."""
REMEDIES = {
    401: "unauthorized: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or a new "
    "MLFLOW_TRACKING_TOKEN",
    403: "forbidden: this account lacks the permission, for example to write",
    413: "too large: raise the limit of the server or of the proxy before it",
}
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class PatientClient:
    """An MlflowClient whose requests are repeated after a failure that may pass.

    busy_s: seconds for which a server that is BUSY is waited for, with a warning.
    """

    def __init__(self, client: MlflowClient, uri: str, busy_s: float = 0.0) -> None:
        self._client, self._uri, self._busy_s = client, uri, busy_s
        self._places: dict[str, Any] = {}
        """MLflow's ArtifactRepository of a run, by its id."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return partial(self._request, name, method) if callable(method) else method

    def list_artifacts(self, run_id: str) -> list[FileInfo]:
        """As MLflow's client, at an address that the store may name; ConfigError at others."""
        found = self._request("list_artifacts", lambda: self._place(run_id).list_artifacts())
        return cast("list[FileInfo]", found)

    def download_artifacts(self, run_id: str, path: str, folder: str) -> str:
        """A file, as `list_artifacts`."""
        from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

        def download() -> Any:
            place = self._place(run_id)
            if isinstance(place, LocalArtifactRepository):
                return place.download_artifacts(path, folder)  # type: ignore[no-untyped-call]
            # MLflow's own method asks again whether it is a folder, and then fetches all that is in it.
            file = os.path.join(folder, os.path.basename(path))
            place._download_file(path, file)
            return file

        return str(self._request("download_artifacts", download))

    def log_artifacts(self, run_id: str, folder: str) -> None:
        """As `list_artifacts`; ConfigError also for a folder that is not the run's alone."""

        def log() -> None:
            place = self._place(run_id)
            require_runs_own_folder(place.artifact_uri, run_id)
            place.log_artifacts(folder)

        self._request("log_artifacts", log)

    def _place(self, run_id: str) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if run_id not in self._places:
            address = self._client.get_run(run_id).info.artifact_uri
            # MLflow's own methods ask for the address again, and could be told another.
            require_own_address(self._uri, address, allowed_folder())
            self._places[run_id] = get_artifact_repository(address, tracking_uri=self._uri)
        return self._places[run_id]

    def _request(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        request = partial(method, *args, **kwargs)
        if self._uri.startswith("http"):
            request = partial(within, FILES_S if name in FILES else ANSWER_S, request)
        begin, pauses, waiting = time.monotonic(), list(PAUSES_S), False
        while True:
            try:
                return _whole(request())
            except Exception as error:
                spent_s = time.monotonic() - begin
                busy = status_of(error) in BUSY and spent_s < self._busy_s
                again = may_pass(error) and spent_s < PATIENCE_S and pauses and name not in ONCE
                if not busy and not again:
                    raise
                if busy and not pauses and not waiting:
                    waiting = True
                    _log.warning("waiting for %s: %s", masked(self._uri), reason(error))
            time.sleep(pauses.pop(0) if pauses else BUSY_PAUSE_S)


def _whole(answer: _T) -> _T:
    """An answer. Raises ConnectionError for one without an id, as a proxy's `{}` is read."""
    named = getattr(answer, "info", answer)
    if answer == "" or "" in (getattr(named, key, None) for key in ("run_id", "experiment_id")):
        raise ConnectionError("the answer is empty")
    return answer


def patient(client: MlflowClient, uri: str, busy_s: float = 0.0) -> MlflowClient:
    """A PatientClient, which has the methods of an MlflowClient."""
    return cast("MlflowClient", PatientClient(client, uri, busy_s))


def once(create: Callable[[], _T], find: Callable[[], _T | None]) -> _T:
    """What a request creates that must not be obeyed twice. After a failure, what it made is looked for."""
    for pause_s in PAUSES_S:
        try:
            return create()
        except Exception as error:
            if not may_pass(error):
                raise
        time.sleep(pause_s)
        if (found := find()) is not None:
            return found
    return create()


def may_pass(error: Exception) -> bool:
    """Whether the request that failed may succeed when it is made again."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code not in BAD_REQUEST
    return isinstance(error, OSError)  # those of `requests` too


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the server's answer; None if there was none."""
    from mlflow.exceptions import RestException

    for cause in _causes(error):
        answer = getattr(cause, "response", None)
        if answer is not None and hasattr(answer, "status_code"):
            return int(answer.status_code)
        if isinstance(cause, RestException):
            return int(cause.get_http_status_code())  # type: ignore[no-untyped-call]
        found = re.search(r"failed with error code (\d{3}) |too many (\d{3}) error responses", str(cause))
        if found:
            return int(found[1] or found[2])
    return None


def reason(error: BaseException) -> str:
    """Why a request failed, in one line, with what to do about it where that is known."""
    status = status_of(error)
    if status is not None and (status in REMEDIES or status in BUSY or status >= 500):
        return (
            f"it answers {status} ({REMEDIES.get(status, 'the log of the server, or of a proxy, says why')})"
        )
    return masked(one_line(_root(error)))


def one_line(error: BaseException) -> str:
    """An error's class, unless it is bad input, and the first line of its message; at most 300 characters.

    Of a message that begins as a list, such as that of files that failed, the last line.
    """
    name = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
    first, *others = str(error).splitlines() or [""]
    text = others[-1] if others and first.endswith(":") else first
    return printable(f"{name}{text}"[:300])


def _root(error: BaseException) -> BaseException:
    """What caused an error: an answer that is not read, or the system's own, as "Connection refused"."""
    root = error
    for cause in _causes(error):
        if isinstance(cause, TimeoutError | AnswerError) or (isinstance(cause, OSError) and cause.strerror):
            root = cause
    return root


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
