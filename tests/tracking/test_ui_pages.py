"""Links and tags for MLflow's UI; tests/commands/test_browser.py opens them."""

from __future__ import annotations

import json

from mlflow.tracking import MlflowClient

from pipeline.tracking.tracking import Tracking
from pipeline.tracking.ui_pages import VIEW, compare_page, run_page, sweep_links
from tests.tracking.conftest import stored


def test_an_experiment_is_tagged_once_and_a_readers_own_view_stays(store: Tracking) -> None:
    store.check()
    client, view = MlflowClient(tracking_uri=store.uri), f"mlflow.sharedViewState.{VIEW}"
    experiment = client.get_experiment_by_name(store.experiment)
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    state = json.loads(json.loads(experiment.tags[view])["state"])
    assert "metrics.`carbon_g_per_inf`" in state["selectedColumns"]
    client.set_experiment_tag(experiment.experiment_id, view, "my own")
    store.check()
    assert client.get_experiment(experiment.experiment_id).tags[view] == "my own"
    link = f"then open http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs?"
    assert link in store.farewell()


def test_links_survive_the_masking_of_secrets(store: Tracking) -> None:
    links = sweep_links("parent", [run_page("1", "a"), run_page("1", "b")])
    with store.open_run("sweep", {}, {}) as opened:
        opened.set_tags({"note": links})
    assert stored(store, opened.run_id).data.tags["note"] == links
    assert links.count("](#/") == 3
    assert links.endswith(f"=machine_learning&viewStateShare%4Bey={VIEW}).")


def test_one_run_has_nothing_to_be_compared_with_and_many_are_too_many() -> None:
    assert "compare" not in sweep_links("parent", [run_page("1", "a")])
    assert sweep_links("parent", []) == ""
    assert compare_page("7", ["a", "b"]) == (
        "#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%227%22%5D"
    )
    assert compare_page("7", ["x"] * 99).count("x%22") == 20
