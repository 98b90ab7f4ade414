"""A limit of time for what has none of its own, such as a request whose answer never ends. Shell."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

_T = TypeVar("_T")


def within(limit_s: float, request: Callable[[], _T]) -> _T:
    """The result of a request. Raises TimeoutError where it takes longer; its thread then goes on alone."""
    results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put((request(), None))
        except BaseException as error:  # raised again by the caller
            results.put((None, error))

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    try:
        result, error = results.get(timeout=min(limit_s, threading.TIMEOUT_MAX))
    except queue.Empty:
        raise TimeoutError(f"no whole answer within {limit_s:g} s") from None
    if error is not None:
        raise error
    return cast("_T", result)
