"""MLflow's UI on a finished sweep, in a real browser: runs table, compare page, the front's figure.

Screenshots go to `$SCREENSHOTS` where that is set, for people to look at.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pytest
from matplotlib.image import imread
from mlflow.tracking import MlflowClient
from test_main import SIMULATED, carbonedge

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)"),
]
COLOURS = 20
"""Of a page that shows something; an empty one has a few."""


class Shown(NamedTuple):
    url: str
    experiment_id: str
    parent: str
    front: list[str]
    folder: Path


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A server over a small finished sweep."""
    folder = tmp_path_factory.mktemp("ui")
    done = carbonedge(folder, *SIMULATED, "sweep=pareto", "sweep.n_trials=8", "sweep.warm_start=exact")
    assert done.code == 0, done.errors
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("carbonedge")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags]
    front = [run.info.run_id for run in runs if run.data.tags.get("pareto") == "true"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1",
         "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"],
        cwd=folder, env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            break
        except OSError:
            time.sleep(0.1)
    url = f"http://127.0.0.1:{port}"
    yield Shown(url, str(experiment.experiment_id), parent, front, folder)
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def page(shown: Shown, name: str, path: str) -> tuple[str, int]:
    """What a page says once it is drawn, and how many colours it has."""
    assert CHROMIUM is not None
    folder = Path(os.environ.get("SCREENSHOTS", shown.folder))
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{name}.png"
    common = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--window-size=1500,1100", "--virtual-time-budget=20000", f"--user-data-dir={shown.folder}/browser",
    ]  # fmt: skip
    address = f"{shown.url}/#/{path}"
    for attempt in range(3):  # the first page waits for the server to wake
        subprocess.run(
            [*common, f"--screenshot={picture}", address], capture_output=True, timeout=180, check=True
        )
        dumped = subprocess.run(
            [*common, "--dump-dom", address], capture_output=True, timeout=180, check=True
        )
        pixels = imread(picture)[..., :3]
        colours = len(np.unique((pixels * 255).astype(np.uint8).reshape(-1, 3), axis=0))
        if colours >= COLOURS or attempt == 2:
            break
    return dumped.stdout.decode(), colours


def test_the_runs_table_has_names_that_people_can_read(shown: Shown) -> None:
    text, colours = page(shown, "runs", f"experiments/{shown.experiment_id}/runs")
    assert colours >= COLOURS
    assert "tpe study of 8 · mobilenetv4_conv_small on paper" in text


def test_the_parents_page_says_how_to_compare(shown: Shown) -> None:
    text, colours = page(shown, "parent", f"experiments/{shown.experiment_id}/runs/{shown.parent}")
    assert colours >= COLOURS
    assert "A sweep to minimize" in text
    assert "Go on, or extend" in text


def test_front_members_can_be_compared(shown: Shown) -> None:
    runs, experiments = json.dumps(shown.front), json.dumps([shown.experiment_id])
    text, colours = page(
        shown, "compare", f"compare-runs?runs={quote(runs)}&experiments={quote(experiments)}"
    )
    assert colours >= COLOURS
    assert "Parallel Coordinates Plot" in text
    for run_id in shown.front:
        assert run_id in text


def test_the_front_is_drawn_among_the_artifacts(shown: Shown) -> None:
    path = f"experiments/{shown.experiment_id}/runs/{shown.parent}/artifacts/front.html"
    text, colours = page(shown, "front", path)
    assert "front.html" in text
    assert colours >= 3 * COLOURS  # the picture itself, beside the frame
