"""The tasks that no device can take at present. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pipeline.execution.events.request import Request


class BlockedTasks:
    """Requests that wait for a device, in a queue for each stage: first come, first served."""

    def __init__(self, num_stages: int) -> None:
        self._queues: list[deque[Request]] = [deque() for _ in range(num_stages)]
        self.count = 0
        """Number of requests that wait."""

    def add(self, request: Request) -> None:
        """Append a request to its stage's queue."""
        self._queues[request.stage].append(request)
        self.count += 1

    def remove(self, request: Request) -> bool:
        """Remove a request; returns whether it was waiting."""
        queue = self._queues[request.stage]
        if request not in queue:
            return False
        queue.remove(request)
        self.count -= 1
        return True

    def retry(self, ready: Callable[[Request], None]) -> None:
        """Call `ready` for the waiting requests of each stage until it blocks one again (calls `add`)."""
        for queue in self._queues:
            while queue:
                head = queue.popleft()
                self.count -= 1
                waiting = len(queue)
                ready(head)
                if len(queue) > waiting:  # blocked again, as the later ones would be: back to the front
                    queue.rotate(1)
                    break
