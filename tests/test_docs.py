"""Every command in README and docs, as written there but with less work, in the order of the page.

`python -m pipeline` runs in this process, other commands in a shell; `.ci/run` runs make's targets.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

import schedulers
from pipeline.commands.main import COMMANDS
from pipeline.commands.run import run_app
from tests.conftest import CONF, ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
START = re.compile(r" {4,6}(?=(python|carbonedge|mlflow|make|echo|MLFLOW_TRACKING_URI=\S+ mlflow) )")
COMMAND = re.compile(START.pattern + r"((?:.*\\\n)*.*)", re.MULTILINE)
FILE = re.compile(
    r"`((?:conf/|schedulers/|partitioners/)?[\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", re.DOTALL
)
PROFILES = tempfile.TemporaryDirectory(prefix="carbonedge-profiles-")
"""Shared by the pages: each need not measure the same profile."""
SMALL = [
    f"profiler.cache_dir={PROFILES.name}",
    "model.input_size=64",
    "profiler.warmup=0",
    "profiler.repeats=1",
]
LESS = {
    r"pipeline (?!.*(workload|experiment)=)": ["workload.requests=2", "backend.warmup=0", "meter=none"],
    r"sweep=pareto": ["sweep.n_trials=3"],
    r"workload=poisson|slo_under_load": ["workload.duration_s=5"],
    r"sweep.repeats": ["sweep.repeats=2"],
    r"experiment=[dw]|slo_": ["sweep.repeats=1"],
    r"samplers": ["sweep.n_trials=5", "backend=simulated"],
    r"day_in_europe|workload=diurnal": ["workload.duration_s=60"],
    r"week_of_slack": ["workload.duration_s=3000"],
    r"action=validate": ["validation.plans=2", "validation.requests=2"],
    r"plan=plan.json backend": ["meter=none"],
}
"""By pattern: what to append to a command that contains it."""


def commands(page: Path) -> list[str]:
    return [match.group(2) and match.group(0).strip() for match in COMMAND.finditer(page.read_text())]


def test_commands_are_found() -> None:
    assert len(commands(ROOT / "docs/sweeps.md")) == 5
    assert "carbonedge sync" in commands(ROOT / "docs/sweeps.md")
    assert "-P overrides=" in commands(ROOT / "docs/start.md")[5]
    assert all(commands(page) for page in PAGES if page.name != "models.md")


def test_the_named_make_targets_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"(?:`| {4})make ([a-z-]+)", text))
    assert named >= {"run", "ui", "test", "paper"}
    assert named <= set(targets)


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "MLproject"], ids=lambda page: page.name
)
def test_each_named_command_exists(page: Path) -> None:
    text = page.read_text()
    # MLproject calls the module of the script, which would run the installed package and not the project.
    assert set(re.findall(r"python -m (pipeline\.[\w.]+)", text)) <= {"pipeline.commands.main"}
    named = set(re.findall(r"(?:`|^ *|: )carbonedge ([a-z]+)", text, re.MULTILINE))
    assert named <= set(COMMANDS)


def test_links_lead_somewhere() -> None:
    for page in (*PAGES, ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with what a reader would have: images, a trace, a scheduler file."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("images/rose.png", "cat.jpg"):
        Image.new("RGB", (80, 60), "red").save(name)
    hours = [f"DE,2021-06-09T{hour:02}:00Z,{300 + hour}" for hour in range(24)]
    Path("MY.csv").write_text("\n".join(["zone,utc,lifecycle_g_per_kwh", *hours]))
    shutil.copytree(CONF / "published", "conf/published")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(schedulers, "__path__", [*schedulers.__path__, str(tmp_path / "schedulers")])
    yield tmp_path
    importlib.invalidate_caches()


def runs(place: Path) -> list[str]:
    """The ids of the finished runs of single configurations, newest first."""
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    ids = [each.experiment_id for each in client.search_experiments()]
    found = (
        client.search_runs(ids, "attributes.status = 'FINISHED'") if (place / "mlflow.db").exists() else []
    )
    return [
        run.info.run_id
        for run in found
        if "plan.json" in {f.path for f in client.list_artifacts(run.info.run_id)}
    ]


def filled(command: str, place: Path) -> str:
    """The command with a run's id, a plan and a folder of images in place of their placeholders."""
    command = command.replace("/my/images", str(place / "images")).replace("NAME", "node-green")
    if re.search(r"\bRUN|plan\.json", command):
        first, second, *_ = runs(place)
        command = re.sub(r"\bRUN(_A)?\b", first, command).replace("RUN_B", second)
        MlflowClient(f"sqlite:///{place}/mlflow.db").download_artifacts(first, "plan.json", str(place))
    return command


@pytest.mark.docs
@pytest.mark.skipif(
    not (ROOT / ".git").exists() or not Path("/usr/lib/git-core/git-daemon").exists(),
    reason="needs git-daemon and the project's history",
)
def test_mlflow_runs_the_project_by_a_git_url(place: Path) -> None:
    """MLflow fetches a bare clone from a local git server, and runs its newest commit."""
    shell(f"git clone --quiet --bare {ROOT} {place}/carbonedge.git")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    daemon = subprocess.Popen(
        ["git", "daemon", f"--base-path={place}", "--export-all", "--listen=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        url = f"git://127.0.0.1:{port}/carbonedge.git"
        words = " ".join([*SMALL, "meter=none", "workload.requests=2"])
        run_it = [
            "mlflow",
            "run",
            url,
            "--env-manager",
            "local",
            "-P",
            "n_trials=4",
            "-P",
            f"overrides={words}",
        ]
        shell(shlex.join(run_it))
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait()
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert {run.info.status for run in found} == {"FINISHED"}
    [parent] = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert parent.data.tags["mlflow.source.name"].startswith(url)
    assert parent.data.metrics["trials_complete"] == 4 == len(found) - 1


def ours(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m pipeline ARGUMENTS` in this process."""
    monkeypatch.setattr(sys, "argv", ["pipeline", *arguments])
    run_app()


@pytest.mark.docs
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "models.md"], ids=lambda page: page.stem
)
def test_every_command_of_a_page_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, content in FILE.findall(page.read_text()):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(content)
    own_conf = f"hydra.searchpath=[file://{place}/conf]"
    for _ in range(2):  # two runs to compare
        ours([*SMALL, *LESS[next(iter(LESS))], "repeat=0"], monkeypatch)
    for command in commands(page):
        began = time.monotonic()
        run(filled(command, place), own_conf, monkeypatch)
        print(f"{time.monotonic() - began:.1f} s: {command}")


def run(command: str, own_conf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command of a page, with less work."""
    arguments = shlex.split(command.replace("\\\n", " "), comments=True)
    if arguments[:3] == ["python", "-m", "pipeline"]:
        less = [added for pattern, words in LESS.items() if re.search(pattern, command) for added in words]
        ours([*arguments[3:], own_conf, *SMALL, *less], monkeypatch)
    elif arguments[:3] == ["mlflow", "run", "."] and "paper" not in arguments:
        words = " ".join([*SMALL, "workload.requests=2", "sweep.n_trials=2", "meter=none"])
        given = [each for each in arguments[3:] if not each.startswith("overrides=")]
        if "-P" in given and given[-1] == "-P":
            given.pop()
        shell(shlex.join(["mlflow", "run", str(ROOT), *given, "-P", f"overrides={words}"]))
    elif arguments[0] not in ("make", "mlflow"):
        shell(command)


def shell(command: str) -> None:
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
