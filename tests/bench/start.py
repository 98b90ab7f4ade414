"""`make bench`: the CPU time that help and a wrong key take, against a Hydra app that does nothing else.

Each line holds user and system seconds (the median of REPEATS processes), and their ratio to that app's. The
commands alternate, so that all of them meet the same load on the host.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.yardsticks import Lines
from tests.conftest import ROOT

REPEATS = 7
BARE = """\
import hydra
@hydra.main(version_base="1.3", config_path=None)
def main(config):
    print(config)
if __name__ == "__main__":
    main()
"""
SCRIPT = str(Path(sys.executable).with_name("carbonedge"))
PIPELINE = (sys.executable, "-m", "pipeline")
COMMANDS = {
    "python -m pipeline --help": (3.0, (*PIPELINE, "--help")),
    "python -m pipeline workload.request=5": (2.0, (*PIPELINE, "workload.request=5")),
    "python -m pipeline model=mobile_net": (2.0, (*PIPELINE, "model=mobile_net")),
    "carbonedge --help": (0.5, (SCRIPT, "--help")),
    "carbonedge compare --help": (1.5, (SCRIPT, "compare", "--help")),
    "carbonedge paper --help": (1.5, (SCRIPT, "paper", "--help")),
}
"""By what is printed: the limit of the ratio, and the command."""


def cpu_s(command: Sequence[str], folder: str) -> float:
    """User and system seconds of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print every line."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bare.py").write_text(BARE)
        bare = "a bare Hydra app --help"
        commands: dict[str, Sequence[str]] = {bare: (sys.executable, "bare.py", "--help")}
        commands |= {name: command for name, (_, command) in COMMANDS.items()}
        for command in commands.values():
            cpu_s(command, folder)  # the first run of a command compiles modules
        rounds = [{name: cpu_s(each, folder) for name, each in commands.items()} for _ in range(REPEATS)]
    median_s = {name: statistics.median(each[name] for each in rounds) for name in commands}
    lines = Lines()
    lines.add(bare, f"{median_s[bare]:.2f} s", 1.0, "bare apps")
    for name, (limit, _) in COMMANDS.items():
        lines.add(name, f"{median_s[name]:.2f} s", median_s[name] / median_s[bare], "bare apps", limit)
    lines.end()


if __name__ == "__main__":
    main()
