"""`make soak`: a sweep that is killed again and again, or its MLflow server is, ends as an undisturbed one.

Real processes, `kill -9` at seeded moments. Prints a line a kill and what was compared at the end. Its other
half is `request_faults`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from tests.conftest import ROOT
from tests.mlflow_server import free_port, server

PER_KILL = 16
"""Trials for each kill: about so many run between two."""
SWEEP = (
    "sweep=pareto", "sweep.study_name=soak", "backend=simulated", "meter=none",
    "model=mobilenetv4_conv_small", "model.input_size=64", "profiler.warmup=0", "profiler.repeats=1",
    "profiler.cache_dir=../profiles",
)  # fmt: skip
TRIAL = b" trials  best"
"""In the line that a sweep prints for each."""
COMPARED = ("carbon_g_per_inf", "latency_ms_p50", "energy_j_per_inf", "requests_ok", "carbon_total_g")
"""Metrics that a simulation of the same profile gives again to the last digit."""


def start(folder: Path, *overrides: str) -> subprocess.Popen[bytes]:
    """The sweep in a folder of its own, over one profile for all."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *SWEEP, *overrides],
        cwd=folder, env={**kept, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[bytes]) -> str:
    """What it printed; it must have ended well."""
    output = process.communicate(timeout=600)[0].decode()
    assert process.returncode == 0, output
    return output


def outcome(uri: str, trials: int, name: str = "carbonedge") -> dict[str, Any]:
    """What a sweep came to, as MLflow has it: its trials' metrics, its front, its hypervolume by step."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED"], "one parent, and it is finished"
    children = [run for run in runs if run not in parents]
    assert {run.info.status for run in children} <= {"FINISHED", "KILLED"}
    done = {int(run.data.tags["trial"]): run for run in children if run.info.status == "FINISHED"}
    count = sum(run.info.status == "FINISHED" for run in children)
    assert sorted(done) == list(range(trials)), "each trial once"
    assert count == trials, "no trial twice"
    for run in children:
        if run.info.status == "KILLED":
            assert run.data.tags["rerun_as"] == done[int(run.data.tags["trial"])].info.run_id
    history = client.get_metric_history(parents[0].info.run_id, "hypervolume")
    assert len(history) == len({point.step for point in history}), "no step twice"
    return {
        "trials": {
            number: {key: run.data.metrics[key] for key in COMPARED} for number, run in sorted(done.items())
        },
        "metrics": {number: len(run.data.metrics) for number, run in sorted(done.items())},
        "front": sorted(number for number, run in done.items() if run.data.tags.get("pareto") == "true"),
        "hypervolume": {point.step: point.value for point in sorted(history, key=lambda each: each.step)},
        "killed": len(children) - count,
    }


def require_same(whole: dict[str, Any], disturbed: dict[str, Any]) -> None:
    """Trial by trial, to the last digit."""
    for key in ("trials", "metrics", "front", "hypervolume"):
        assert disturbed[key] == whole[key], key


def undisturbed(folder: Path, trials: int) -> tuple[dict[str, Any], float]:
    """The sweep as it is where nobody kills it, and how long it takes until its first trials."""
    warm = folder / "warm"
    warm.mkdir(parents=True)
    finish(start(warm, "sweep.n_trials=1"))
    begin = time.monotonic()
    finish(start(warm, "sweep.n_trials=2"))
    started_s = time.monotonic() - begin
    whole = folder / "whole"
    whole.mkdir()
    finish(start(whole, f"sweep.n_trials={trials}"))
    return outcome(f"sqlite:///{whole}/mlflow.db", trials), started_s


def kill_sweep(
    folder: Path, trials: int, kills: int, seed: int, started_s: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """The sweep, killed so many times, while it begins or after a few trials, and gone on with each time."""
    moments = random.Random(seed)
    folder.mkdir()
    for number in range(kills):
        process = start(folder, f"sweep.n_trials={trials}")
        assert process.stdout is not None
        lines = moments.randrange(PER_KILL)
        seen = 0
        while seen < lines and (line := process.stdout.readline()):
            seen += TRIAL in line
        time.sleep(moments.uniform(0, 0.5) if lines else started_s * moments.random())
        assert process.poll() is None, "it was over"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        say(f"kill {number}: {f'after {lines} trials' if lines else 'before the first trial'}")
    finish(start(folder, f"sweep.n_trials={trials}"))
    return outcome(f"sqlite:///{folder}/mlflow.db", trials)


def kill_server(
    folder: Path, trials: int, kills: int, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """The sweep against a server that is killed and started again so many times; then `carbonedge sync`."""
    moments = random.Random(seed)
    folder.mkdir()
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    with server(folder, port) as kill:
        process = start(folder, f"tracking.uri={uri}", f"sweep.n_trials={trials}")
        output: list[str] = []
        assert process.stdout is not None
        due = sorted(moments.sample(range(1, trials * 3 // 4), kills))
        for line in process.stdout:
            output.append(line.decode())
            if TRIAL in line and due and int(line.split(b"/")[0]) >= due[0]:
                say(f"server killed after {output[-1].split()[0]} trials, due after {due.pop(0)}")
                assert process.poll() is None, "the sweep was over"
                kill()
        assert process.wait() == 0, "".join(output)
        kept = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("carbonedge")), "sync", f"tracking.uri={uri}"],
            cwd=folder, env=kept, capture_output=True, text=True, check=False,
        )  # fmt: skip
        say(done.stdout.strip() or done.stderr)
        assert done.returncode == 0
        assert not (folder / "outbox").exists()
        return outcome(uri, trials)


def main(kills: int = 25, server_kills: int = 10, seed: int = 0) -> None:
    """All of it."""

    def say(line: str) -> None:
        print(line, flush=True)

    trials = PER_KILL * max(kills, 3)
    with tempfile.TemporaryDirectory(prefix="carbonedge-soak-") as name:
        folder = Path(name)
        whole, started_s = undisturbed(folder, trials)
        say(f"undisturbed: {trials} trials, front of {len(whole['front'])}")
        killed = kill_sweep(folder / "killed", trials, kills, seed, started_s, say)
        require_same(whole, killed)
        say(f"same after {kills} kills; {killed['killed']} runs were cut short and run again")
        served = kill_server(folder / "served", trials, server_kills, seed, say)
        require_same(whole, served)
        say(f"same after the server was killed {server_kills} times")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
