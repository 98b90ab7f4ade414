"""Start the process of a device. Shell."""

from __future__ import annotations

import os
import subprocess

from pipeline.host.processes import module_command, module_environment

KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""Makes glibc keep freed memory. Otherwise the layout of the heap decides whether large activations are
returned to the system after a run: page faults made a stage take 6 ms of CPU in one run and 10 in
the next."""


def start_device(endpoint: str, name: str) -> subprocess.Popen[bytes]:
    """The process of a device, with one torch thread; it connects to the endpoint under its name."""
    environment = module_environment() | KEEP_MEMORY | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = module_command("pipeline.execution.devices.device", endpoint, name, str(os.getpid()))
    # In a session of its own: Ctrl-C reaches only the coordinator, which then ends its devices in order.
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
