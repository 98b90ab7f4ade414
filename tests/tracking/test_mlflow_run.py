"""What a run logs, as a real SQLite store has it."""

from __future__ import annotations

import math
import re

import pandas as pd
import plotly.graph_objects as go
import pytest
from matplotlib.figure import Figure

from pipeline.domain.checks import ConfigError
from pipeline.results.metric_keys import METRICS, metric
from pipeline.tracking.datasets import Dataset
from pipeline.tracking.tracking import Tracking
from tests.tracking.conftest import artifact, stored


def test_metrics_that_are_not_known_are_left_out(store: Tracking) -> None:
    with store.open_run("trial", {}, {}) as opened:
        opened.log_metrics(
            {"latency_ms_p50": 0.0, "latency_ms_p50_lo": 0.0, "energy_j_per_inf": None}
            | {"carbon_g_per_inf": math.nan, "inferences_per_g": math.nan}
        )
        opened.log_metrics({"hypervolume": 1.0}, step=1)
        opened.log_metrics({"hypervolume": 2.0}, step=2)
    metrics = stored(store, opened.run_id).data.metrics
    assert metrics == {"latency_ms_p50": 0.0, "latency_ms_p50_lo": 0.0, "hypervolume": 2.0}


@pytest.mark.parametrize("key", ["latency", "latency_ms_p50_least", "latency_ms_p50_lo_hi", "_lo"])
def test_a_second_spelling_of_a_metric_is_refused(store: Tracking, key: str) -> None:
    with (
        pytest.raises(ValueError, match=f"unknown metric '{key}'"),
        store.open_run("trial", {}, {}) as opened,
    ):
        opened.log_metrics({"latency_ms_p50": 1.0, key: 1.0})
    assert stored(store, opened.run_id).data.metrics == {}


def test_every_metric_reads_well_and_its_key_names_its_unit() -> None:
    units = {"_ms_": "ms", "_us_": "µs", "_j": "J", "_rps": "requests/s", "_bytes": "B"}
    for key, (label, unit, meaning) in METRICS.items():
        assert label[0] == label[0].upper()
        assert len(meaning) > len(key)
        assert metric(f"{key}_hi") is METRICS[key]
        for part, expected in units.items():
            assert part not in key or unit == expected, key
        assert not re.search("carbon_([a-z]+_)?g(_per_inf)?$", key) or unit == "g", key


def test_artifacts_are_shown_by_the_ui_and_work_offline(store: Tracking) -> None:
    picture = Figure()
    picture.add_subplot().plot([1, 2])
    with store.open_run("trial", {}, {}) as opened:
        opened.log_table(pd.DataFrame({"request": [0, 1], "device": ["a", None]}), "ledger.json")
        opened.log_text("seed: 1\n", "config.yaml")
        opened.log_figure(go.Figure(go.Scatter(x=[1], y=[2])), "front.html")
        opened.log_figure(picture, "front.png")
    run_id = opened.run_id
    assert artifact(store, run_id, "ledger.json") == (
        b'{"columns": ["request", "device"], "data": [[0, "a"], [1, null]]}'
    )
    assert '"ledger.json", "type": "table"' in stored(store, run_id).data.tags["mlflow.loggedArtifacts"]
    assert artifact(store, run_id, "config.yaml") == b"seed: 1\n"
    assert b"<script src=" not in artifact(store, run_id, "front.html").replace(b"'", b"")
    assert artifact(store, run_id, "front.png").startswith(b"\x89PNG")


def test_a_run_says_what_it_was_fed_once(store: Tracking) -> None:
    fed = [
        Dataset("rooms", "0123456789abcdef", "/images/rooms", "images"),
        Dataset("DE.csv", "ab", "DE.csv", "grid"),
    ]
    with store.open_run("fed", {}, {}) as opened:
        opened.log_inputs(fed)
        opened.flush()
        opened.log_inputs(fed[:1])
    fed_in = stored(store, opened.run_id).inputs
    assert fed_in is not None
    inputs = fed_in.dataset_inputs
    assert {(each.dataset.name, each.dataset.digest, each.tags[0].value) for each in inputs} == {
        ("rooms", "0123456789abcdef", "images"),
        ("DE.csv", "ab", "grid"),
    }
    assert len(inputs) == 2


@pytest.mark.parametrize(
    ("key", "value"), [("carbon_total_g", -1.0), ("latency_ms_p50", math.inf), ("stages", 2.5)]
)
def test_a_figure_that_cannot_be_ends_the_run(store: Tracking, key: str, value: float) -> None:
    with (
        pytest.raises(ConfigError, match=f"^run figures: {key} must be "),
        store.open_run("figures", {}, {}) as opened,
    ):
        opened.log_metrics({key: value})
    found = stored(store, opened.run_id)
    assert (found.info.status, found.data.metrics) == ("FAILED", {})
