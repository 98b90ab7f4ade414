"""A background process that sends the trials of a long sweep to MLflow while the sweep runs. Shell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.domain.checks import ConfigError
from pipeline.host.processes import module_command, module_environment, this_process
from pipeline.tracking.outbox import Outbox
from pipeline.tracking.sending import deliver
from pipeline.tracking.tracking import Tracking

Deliver = Callable[[Collection[str]], None]
"""Sends or queues the runs of a trial, by id, once its study has recorded the trial."""


class BackgroundSender:
    """Sends runs in the order in which they are delivered.

    The process starts with the first delivery. If the sweep is killed, the process still sends everything
    that was delivered. If the process itself dies, `finish` sends the rest.
    """

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._delivered: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def deliver(self, run_ids: Collection[str]) -> None:
        """Queue these runs for sending."""
        self._delivered += run_ids
        if self._process is None:
            self._process = subprocess.Popen(
                module_command(__name__, self._tracking.outbox, json.dumps(this_process())),
                env=module_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is for the sweep to handle
            )
            lines = [self._tracking.address, *run_ids]  # not an argument: other users see those
        else:
            lines = list(run_ids)
        assert self._process.stdin is not None
        with suppress(OSError):  # the process has died
            self._process.stdin.writelines(f"{line}\n" for line in lines)
            self._process.stdin.flush()

    def finish(self) -> None:
        """Wait for the process to end, then send the rest. Raises DiskError if a disk write fails."""
        if self._process is not None:
            with suppress(OSError):
                self._process.communicate()
            self._tracking.deliver(self._delivered)


@contextmanager
def sending_in_background(tracking: Tracking) -> Iterator[Deliver]:
    """A function that queues runs for a background process; when the block ends, all are sent."""
    sender = BackgroundSender(tracking)
    try:
        yield sender.deliver
    finally:
        sender.finish()


def main(outbox: str, owner: str) -> None:
    """Send the runs of an outbox whose ids arrive on standard input, one a line after the store's URI.

    owner: the identity of the sweep's process, as JSON; other pending runs of that process are sent too.
    """
    found = Outbox(Path(outbox), sys.stdin.readline().strip())
    for line in sys.stdin:
        with suppress(ConfigError):  # such as a full disk, which the sweep reports itself
            deliver(found, [line.strip()], json.loads(owner))


if __name__ == "__main__":
    main(*sys.argv[1:])
