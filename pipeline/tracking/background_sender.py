"""A process of its own that sends a long sweep's trials to MLflow, so that the sweep need not wait. Shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from pipeline.domain.checks import ConfigError
from pipeline.host.processes import this_process
from pipeline.tracking.tracking import Tracking

Deliver = Callable[[Collection[str]], None]
"""Takes the runs of a trial that its study knows of now."""


class BackgroundSender:
    """Sends what it is given in the order in which it is given.

    It begins with the first, and outlives a sweep that is killed until all that it was given is sent. Should
    it die itself, `finish` sends what it has left.
    """

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._given: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def deliver(self, run_ids: Collection[str]) -> None:
        """Have these sent soon."""
        self._given += run_ids
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, self._tracking.outbox, json.dumps(this_process())],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is the sweep's to answer
            )
        assert self._process.stdin is not None
        with suppress(OSError):  # it died
            self._process.stdin.writelines(f"{run_id}\n" for run_id in run_ids)
            self._process.stdin.flush()

    def finish(self) -> None:
        """Wait until all is sent that the store takes."""
        if self._process is not None:
            with suppress(OSError):
                self._process.communicate()
            self._tracking.deliver(self._given)


@contextmanager
def by_courier(tracking: Tracking) -> Iterator[Deliver]:
    """What has a sweep's trials sent, all of them when the block ends."""
    courier = BackgroundSender(tracking)
    try:
        yield courier.deliver
    finally:
        courier.finish()


def main(outbox: str, owner: str) -> None:
    """Send the runs named on standard input, a line each, of that process's outbox."""
    tracking = Tracking(outbox=outbox)
    for line in sys.stdin:
        with suppress(ConfigError):  # such as of a full disk, which the sweep says itself
            tracking.deliver([line.strip()], json.loads(owner))


if __name__ == "__main__":
    main(*sys.argv[1:])
