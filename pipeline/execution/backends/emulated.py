"""Run plans on real processes, one per device, in the fleet's own time. Default backend. Shell.

Real stages compute on real tensors, one at a time. The speed of a device, the bandwidth and latency of a link
and the order of events are emulated:
- A stage takes its CPU time ÷ the device's speed. That is steadier than a CPU quota, which throttles in
  bursts of 100 ms, and leaves out the time for which other work on this host delays the stage.
- A stage runs twice, and the second time counts: its time is then that of a device in steady work, however
  long its process has waited and whatever ran on this host before.
- A transfer takes the time that its link would need. What messages between this host's processes take
  counts nowhere.
- The times are also corrected for this host's drift since the profile, which the reference model measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import psutil

from pipeline.domain.checks import require, require_number, require_whole, size_text
from pipeline.domain.records import Records
from pipeline.execution.backends.emulation import Emulation, used_devices
from pipeline.execution.deployment import deploy
from pipeline.execution.devices.pool import discard_pool, shared_pool
from pipeline.execution.events.settings import BackendSettings
from pipeline.execution.job import Job
from pipeline.execution.scheduler import Scheduler
from pipeline.host.locks import machine_lock

PROCESS_BYTES = 3e8
"""Memory of a device's process: torch's 220 MB, and room for stages."""


@dataclass(frozen=True)
class Emulated(BackendSettings):
    """The settings of an emulated run. Raises ConfigError for a value out of range."""

    max_requests: int = 1000
    """Most requests in the fleet at once; further ones are rejected, so that overload stays bounded."""
    warmup: int = 3
    """Runs of a stage before the run begins, on zeros with the strides of the tensors that will arrive."""
    calibrate_every_s: float = 0.04
    """Seconds of this host between two probes of its drift."""
    patience_s: float = 60.0
    """Seconds without an answer, beyond 20 times those predicted, after which a device's process has hung."""
    computes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("backend", "warmup", self.warmup)
        require_number("backend", "calibrate_every_s", self.calibrate_every_s, least=0)
        require_number("backend", "patience_s", self.patience_s, least=1)

    def run(self, job: Job, scheduler: Scheduler) -> Records:
        """Run every request through its plan's stages.

        Raises ConfigError before anything starts where a stage fits no device that it may run on, and where
        this host lacks the memory for the devices' processes. Raises DeviceError where a process fails or
        hangs.
        """
        work = deploy(job.services)
        names = used_devices(work)
        room = psutil.virtual_memory().available
        require(
            len(names) * PROCESS_BYTES <= room,
            f"backend: {len(names)} devices may run a stage, and the process of each takes about "
            f"{size_text(PROCESS_BYTES)}, but {size_text(room)} are free on this host; use "
            "backend=simulated, or plans that name their devices",
        )
        with machine_lock():
            pool = shared_pool(names)
            pool.patience_s = self.patience_s
            emulation = Emulation(
                self,
                job,
                scheduler,
                work,
                pool,
                warmup=self.warmup,
                probe_every_s=self.calibrate_every_s,
            )
            try:
                return emulation.execute()
            except BaseException:
                discard_pool()  # the state of the device processes is unknown
                raise
