"""An MLflow server's answers: of limited size, and no redirects. Shell: it changes MLflow's sessions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.domain.checks import size_text
from pipeline.domain.credentials import masked
from pipeline.host import data_file

if TYPE_CHECKING:
    import requests

MOST_BYTES = 150_000_000
"""Limit of an answer, unpacked: a page of 1,000 runs takes some 30 MB, a part of a large file 105 MB."""
MOST_FILE_BYTES = data_file.MOST_BYTES
"""Limit of a file, whatever size the server has said."""
NOT_MEANT = 300
"""The least HTTP status of an answer whose body is not what was asked for."""


class AnswerError(OSError):
    """An answer that is not read."""


@functools.cache
def limit_answers() -> None:
    """Let `limit_answer` see each answer to MLflow, which has no setting for it."""
    from mlflow.utils import request_utils

    session_of = request_utils._get_request_session

    def limited(*args: Any, **kwargs: Any) -> requests.Session:
        session: requests.Session = session_of(*args, **kwargs)  # type: ignore[no-untyped-call]
        session.hooks["response"] = [limit_answer]
        return session

    request_utils._get_request_session = limited


def limit_answer(answer: requests.Response, *_: object, stream: bool = False, **__: object) -> None:
    """A hook of `requests`, called before the body is read. Files go to the disk part by part (`stream`).

    Raises AnswerError for a redirect, unless MLflow may follow it (`mlflow_store` forbids it by default: what
    another host answers would be taken for the server's); later, as the body is read, where it is too long.
    """
    from mlflow.environment_variables import MLFLOW_ALLOW_HTTP_REDIRECTS as ALLOWED

    if answer.is_redirect and not ALLOWED.get():  # type: ignore[no-untyped-call]
        place = masked(answer.headers["Location"])
        raise AnswerError(f"a redirect is not followed without {ALLOWED.name}=true (to {place:.100})")
    most_bytes = MOST_FILE_BYTES if stream and answer.status_code < NOT_MEANT else MOST_BYTES
    answer.raw.stream = partial(_counted, most_bytes, answer.raw.stream)


def _counted(
    most_bytes: int, parts: Callable[..., Iterator[bytes]], *args: Any, **kwargs: Any
) -> Iterator[bytes]:
    """The parts of a body as urllib3's `stream` gives them. Raises AnswerError beyond `most_bytes`."""
    num_bytes = 0
    for part in parts(*args, **kwargs):
        num_bytes += len(part)
        if num_bytes > most_bytes:
            raise AnswerError(f"an answer is longer than {size_text(most_bytes)}")
        yield part
