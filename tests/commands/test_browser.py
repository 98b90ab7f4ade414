"""MLflow's UI on a finished sweep, in a real browser: runs table, compare page, the front's figure.

Screenshots are written to `$SCREENSHOTS` if that is set.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from matplotlib.image import imread
from mlflow.tracking import MlflowClient
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.commands.conftest import SIMULATED, carbonedge

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no browser here (Debian: chromium, chromium-driver)"
    ),
]
COLOURS = 20
"""A page with content has at least as many; an empty one has a few."""


class Shown(NamedTuple):
    url: str
    experiment_id: str
    parent: str
    front: list[str]
    plans: list[str]
    """Runs on the front, one for each plan."""
    folder: Path
    page: str
    """The address that the sweep printed, at this server."""


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
    table = json.loads(Path(client.download_artifacts(parent, "front.json")).read_text())
    plans = [row[table["columns"].index("run_id")] for row in table["data"]]
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
    [page] = re.findall("^then open http://127.0.0.1:5000(/.*)$", done.output, re.MULTILINE)
    yield Shown(url, str(experiment.experiment_id), parent, front, plans, folder, url + page)
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """Chromium without a window."""
    options = Options()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,1100"):
        options.add_argument(argument)
    chrome = Chrome(options=options, service=Service(DRIVER))
    yield chrome
    chrome.quit()


def wait_for(browser: Chrome, found: Callable[[Chrome], Any]) -> Any:
    """The first result of `found` that is true, within a minute."""
    return WebDriverWait(browser, 60).until(found)


def elements(selector: str) -> Callable[[Chrome], Any]:
    return lambda page: page.find_elements(By.CSS_SELECTOR, selector)


def text_of(browser: Chrome) -> str:
    return str(browser.find_element(By.TAG_NAME, "body").text)


def colours(browser: Chrome, shown: Shown, name: str) -> int:
    """The number of colours of a screenshot, which it writes to NAME.png."""
    folder = Path(os.environ.get("SCREENSHOTS", shown.folder))
    folder.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(folder / f"{name}.png"))
    pixels = (imread(folder / f"{name}.png")[..., :3] * 255).astype(np.uint8)
    return len(np.unique(pixels.reshape(-1, 3), axis=0))


@contextmanager
def window(browser: Chrome, width: int, height: int) -> Iterator[None]:
    """A page of that size, which a window cannot be: the smallest is 500 pixels wide."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def box(browser: Chrome, selector: str) -> dict[str, float]:
    """Left, top, right and bottom of an element, in pixels of the page."""
    element, *_ = wait_for(browser, elements(selector))
    return dict(browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", element))


def test_the_printed_link_opens_runs_with_metrics_and_names_that_differ(
    shown: Shown, browser: Chrome
) -> None:
    with window(browser, 1366, 768):
        browser.get(shown.page)
        wait_for(browser, lambda page: "tpe study of 8" in text_of(page))
        assert not browser.find_elements(By.PARTIAL_LINK_TEXT, "Overview")
        end = box(browser, ".ag-root-wrapper")["right"]
        for key in ("carbon_g_per_inf", "latency_ms_p50", "regret_to_exact"):
            assert box(browser, f".ag-header-cell[col-id*={key}]")["left"] + 60 < end
        [unfold] = wait_for(browser, elements("[role=row] button[data-component-id*=runnamecell]"))
        unfold.click()
        wait_for(browser, lambda page: "node-high · pinned" in text_of(page))
        assert colours(browser, shown, "runs") >= COLOURS
    client = MlflowClient(f"sqlite:///{shown.folder}/mlflow.db")
    found = client.search_runs([shown.experiment_id], f"tags.`mlflow.parentRunId` = '{shown.parent}'")
    names = [str(run.info.run_name) for run in found]
    assert len({name[:20] for name in names}) == len(set(names))


def test_the_parents_page_explains_how_to_compare(shown: Shown, browser: Chrome) -> None:
    browser.get(f"{shown.url}/#/experiments/{shown.experiment_id}/runs/{shown.parent}")
    wait_for(browser, lambda page: "A sweep to minimize" in text_of(page))
    assert "tpe study of 8 · mobilenetv4_conv_small on paper" in text_of(browser)
    more = wait_for(browser, lambda page: page.find_element(By.XPATH, "//*[text()='Show more']"))
    for link in ("a[href*='artifacts/front.html']", "a[href*='compare-runs']", "a[href*=viewStateShare]"):
        assert box(browser, link)["bottom"] < more.rect["y"]  # not folded
    assert colours(browser, shown, "parent") >= COLOURS


def test_the_parents_page_links_the_runs_on_the_front(shown: Shown, browser: Chrome) -> None:
    browser.get(f"{shown.url}/#/experiments/{shown.experiment_id}/runs/{shown.parent}")
    in_note = [f"table a[href$='{run}']" for run in shown.plans]
    for link in in_note:
        wait_for(browser, elements(link))
    run = shown.plans[0]
    browser.get(str(browser.find_element(By.CSS_SELECTOR, in_note[0]).get_attribute("href")))
    wait_for(browser, lambda page: "A sweep to minimize" not in text_of(page) and run in text_of(page))
    assert "profile of mobilenetv4_conv_small on paper" in text_of(browser)  # among its datasets


def test_front_members_can_be_compared(shown: Shown, browser: Chrome) -> None:
    browser.get(f"{shown.url}/#/experiments/{shown.experiment_id}/runs/{shown.parent}")
    [link] = wait_for(browser, elements("a[href*='compare-runs']"))
    browser.get(str(link.get_attribute("href")))
    wait_for(browser, lambda page: page.find_elements(By.CSS_SELECTOR, ".parcoords"))
    text = text_of(browser)
    assert f"Comparing {len(shown.plans)} Runs" in text
    assert "node-green" in text
    drawn = [axis.text for axis in browser.find_elements(By.CSS_SELECTOR, ".parcoords .axis-title")]
    assert "carbon_g_per_inf" in drawn
    assert colours(browser, shown, "compare") >= COLOURS


def test_the_front_is_drawn_among_the_artifacts(shown: Shown, browser: Chrome) -> None:
    path = f"experiments/{shown.experiment_id}/runs/{shown.parent}/artifacts/front.html"
    browser.get(f"{shown.url}/#/{path}")
    [frame] = wait_for(browser, lambda page: page.find_elements(By.TAG_NAME, "iframe"))
    browser.switch_to.frame(frame)
    wait_for(browser, lambda page: page.find_elements(By.CSS_SELECTOR, ".scatterlayer .trace"))
    assert f"Pareto front: {len(shown.front)} of 8 trials" in text_of(browser)
    points = browser.find_elements(By.CSS_SELECTOR, ".scatterlayer .trace .points path")
    assert len(points) == 8 + 1  # the knee is drawn once more
    browser.switch_to.default_content()
    assert colours(browser, shown, "front") >= COLOURS


def test_the_front_is_drawn_from_a_file_on_a_phone(shown: Shown, browser: Chrome) -> None:
    client = MlflowClient(f"sqlite:///{shown.folder}/mlflow.db")
    file = client.download_artifacts(shown.parent, "front.html", str(shown.folder))
    with window(browser, 390, 844):
        browser.get(f"file://{file}")
        wait_for(browser, lambda page: page.find_elements(By.CSS_SELECTOR, ".scatterlayer .trace"))
        title, legend, axis = (box(browser, each) for each in (".gtitle", ".legend", ".xtitle"))
        assert title["bottom"] < box(browser, ".nsewdrag")["top"]
        assert axis["bottom"] <= legend["top"]
        assert legend["bottom"] <= 844
        for each in (title, legend, axis):
            assert each["left"] >= 0
            assert each["right"] <= 390
        assert colours(browser, shown, "phone") >= COLOURS
