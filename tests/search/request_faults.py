"""A part of `make soak`: a sweep of which one request to MLflow's server fails ends as an undisturbed one.

Each request in turn, in each way of `faulty_proxy.FAULTS`; a real server behind a proxy.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

from pipeline.commands.run import multirun
from pipeline.tracking import mlflow_store
from pipeline.tracking.tracking import Tracking
from tests.faulty_proxy import FAULTS, Proxy, proxy
from tests.mlflow_server import free_port, server
from tests.search.soak import SWEEP, outcome, require_same

TRIALS = 3


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The working directory, and an environment without MLflow's variables of runs."""
    before, kept = Path.cwd(), dict(os.environ)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    for name in [name for name in os.environ if name.startswith("MLFLOW_") and name.endswith(("URI", "ID"))]:
        del os.environ[name]
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(kept)


def swept(folder: Path, seen_by: Proxy, experiment: str) -> tuple[dict[str, Any], str]:
    """What a sweep came to, and what it printed. What waits after it is sent."""
    mlflow_store.retry_now()
    uri = seen_by.uri
    with inside(folder / experiment), contextlib.redirect_stdout(io.StringIO()) as printed:
        multirun(
            [*SWEEP, f"sweep.n_trials={TRIALS}", f"tracking.uri={uri}", f"tracking.experiment={experiment}"]
        )
        assert Tracking(uri=uri).sync()[1:] == (0, 0, 0), "all that waited was sent"
        assert not Path("outbox").exists()
    return outcome(f"http://127.0.0.1:{seen_by.port}", TRIALS, experiment), printed.getvalue()


def check(folder: Path, seen_by: Proxy, whole: dict[str, Any], at: int, fault: str, name: str) -> str:
    """One sweep whose request number `at` fails; returns the request."""
    seen_by.fail(at, fault)
    found, printed = swept(folder, seen_by, name)
    request = seen_by.failed
    seen_by.fail(-1, "")
    try:
        require_same(whole, found)
        assert found["killed"] == 0, "no run too many"
        assert "Traceback" not in printed
    except AssertionError as error:
        raise AssertionError(f"request {at} ({request}), {fault}: {error}") from error
    return request


def main(sample: int | None = None, seed: int = 0, say: Callable[[str], None] = print) -> None:
    """All requests in all ways, or a seeded sample of so many."""
    with tempfile.TemporaryDirectory(prefix="carbonedge-soak-") as name:
        folder, port, numbers = Path(name), free_port(), count()
        with server(folder, port), proxy(port) as seen_by:
            swept(folder, seen_by, "warm")  # measures the profile, and the server is warm
            seen_by.fail(-1, "")
            whole, _ = swept(folder, seen_by, "whole")
            requests = seen_by.seen
            say(f"undisturbed: {requests} requests")
            cases = list(product(range(requests), FAULTS))
            if sample is not None:
                cases = random.Random(seed).sample(cases, sample)
            for at, fault in cases:
                request = check(folder, seen_by, whole, at, fault, f"sweep {next(numbers)}")
                say(f"same after request {at} ({request}): {fault}")


if __name__ == "__main__":
    main()
