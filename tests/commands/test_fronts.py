"""Fronts of several sweeps over one another, from a real store, by the command that people type."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from pipeline.commands.fronts import fronts, fronts_of
from pipeline.domain.checks import ConfigError
from pipeline.results.comparison.fronts_table import fronts_table
from pipeline.tracking.tracking import Tracking
from tests.results.pages.packed_scripts import packed_scripts

TWO = {"carbon_g_per_inf": "minimize", "latency_ms_p50": "minimize"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    monkeypatch.chdir(tmp_path)
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "try out")
    tracking.check()
    return tracking


def sweep(
    tracking: Tracking,
    name: str,
    points: list[tuple[float, float]],
    objectives: dict[str, str | None],
    accounting: dict[str, str] | None = None,
    **constraints: float,
) -> None:
    with tracking.open_run(name, {"sweep": "grid"}, {}) as run:
        table = pd.DataFrame(points, columns=["carbon_g_per_inf", "latency_ms_p50"])
        run.log_table(table.assign(number=range(len(points)), cuts="none"), "trials.json")
        run.log_text(
            OmegaConf.to_yaml(
                {
                    "sweep": {"objectives": objectives, "constraints": constraints},
                    "accounting": accounting or {},
                }
            ),
            "multirun.yaml",
        )


def test_fronts_are_told_from_one_reference(store: Tracking, capsys: pytest.CaptureFixture[str]) -> None:
    """Worst of all: (4, 4) × 1.1. The first dominates (4.4 - 1)(4.4 - 1), the second 4 less."""
    sweep(store, "first", [(1, 1), (4, 4)], {**TWO})
    sweep(store, "other", [(1, 1)], {"carbon_g_per_inf": "minimize", "energy_j_per_inf": "minimize"})
    sweep(store, "second", [(1, 3), (3, 1), (4, 2)], {**TWO, "energy_j_per_inf": None})
    sweep(store, "single", [(1, 1)], {"carbon_g_per_inf": "minimize"})
    found, others = fronts_of(store.sweeps("try out"))
    table = fronts_table(found)
    assert [name.split(" · ")[0] for name in table["sweep"]] == ["second", "first"]
    assert table["front"].tolist() == [2, 1]
    whole = (4.4 - 1) ** 2
    assert table["hypervolume"].tolist() == pytest.approx([whole - 4, whole])
    assert [name.split(" · ")[0] for name in others] == ["single", "other"]
    fronts(["try out"], [f"tracking.uri={store.uri}"])
    said = capsys.readouterr().out
    assert "left out, as it has other objectives: other" in said
    shown = Path("front-try-out.html").read_text()
    assert "second" in packed_scripts(shown)[1]
    assert "<script src=" not in shown


def test_carbon_of_another_boundary_is_left_out(store: Tracking) -> None:
    """Sweeps of before `reserved` counted the used devices; latency and bytes have no boundary."""
    for name, rules in (("before", {"idle": "full"}), ("fleet", {"reserved": "fleet"}), ("used", {})):
        sweep(store, name, [(1, 1)], {**TWO}, rules)
    found, others = fronts_of(store.sweeps("try out"))
    assert [name.split(" · ")[0] for name in found] == ["used", "before"]
    assert [(n.split(" · ")[0], why) for n, why in others.items()] == [
        ("fleet", "its carbon has another boundary")
    ]


def test_what_breaks_a_sweeps_constraint_is_not_on_its_front(store: Tracking) -> None:
    sweep(store, "held", [(1, 3), (3, 1)], {**TWO}, latency_ms_p50=2)
    found, _ = fronts_of(store.sweeps("try out"))
    assert [front.members["carbon_g_per_inf"].tolist() for front in found.values()] == [[3]]


def test_a_sweep_of_which_no_trial_meets_the_constraints_is_left_out(store: Tracking) -> None:
    sweep(store, "fine", [(1, 1)], {**TWO})
    sweep(store, "slow", [(1, 3)], {**TWO}, latency_ms_p50=2)
    found, others = fronts_of(store.sweeps("try out"))
    assert [name.split(" · ")[0] for name in found] == ["fine"]
    assert "it has no trial that meets its constraints" in next(iter(others.values()))


def test_objectives_as_texts_are_left_out(store: Tracking) -> None:
    sweep(store, "fine", [(1, 1)], {**TWO})
    sweep(store, "texts", [("1", "2")], {**TWO})  # type: ignore[list-item]
    _, others = fronts_of(store.sweeps("try out"))
    assert "carbon_g_per_inf must be a number in every row" in next(iter(others.values()))


def test_where_there_is_no_front_to_show(store: Tracking) -> None:
    with pytest.raises(ConfigError, match="experiment: the MLflow store has none named 'gone'"):
        fronts(["gone"], [f"tracking.uri={store.uri}"])
    with pytest.raises(ConfigError, match="no sweep of the experiment has trials"):
        fronts(["try out"], [f"tracking.uri={store.uri}"])
    sweep(store, "one", [(1, 1)], {"carbon_g_per_inf": "minimize"})
    with pytest.raises(ConfigError, match=r"can be drawn .one · \w+: its objectives are not two"):
        fronts(["try out"], [f"tracking.uri={store.uri}"])


@pytest.mark.parametrize("carbon_g", [-1.0, 1e300])
def test_a_sweep_with_an_impossible_figure_is_left_out(store: Tracking, carbon_g: float) -> None:
    sweep(store, "fine", [(1, 1)], {**TWO})
    sweep(store, "strange", [(1, 1), (carbon_g, 2)], {**TWO})
    found, others = fronts_of(store.sweeps("try out"))
    assert [name.split(" · ")[0] for name in found] == ["fine"]
    assert [name.split(" · ")[0] for name in others] == ["strange"]
    ((_, why),) = others.items()
    assert "its trials.json cannot be read: " in why
    assert "trials: carbon_g_per_inf must be" in why


def test_a_sweep_whose_objective_is_no_metric_is_left_out(store: Tracking) -> None:
    sweep(store, "first", [(1, 1)], {**TWO})
    sweep(store, "of anybody", [(1, 1)], {"energy": "minimize", "latency_ms_p50": "minimize"})
    found, others = fronts_of(store.sweeps("try out"))
    assert [name.split(" · ")[0] for name in found] == ["first"]
    assert [*others.values()] == ["its objective 'energy' is no metric"]


def test_values_beyond_any_figure_are_left_out(store: Tracking) -> None:
    """Their sums and differences would be infinite."""
    objectives = {"carbon_g_per_inf": "minimize", "output_max_abs_error": "minimize"}
    with store.open_run("table", {"sweep": "grid"}, {}) as run:
        huge = {"carbon_g_per_inf": [1, 2], "output_max_abs_error": [1e308, 1.7e308], "number": [0, 1]}
        run.log_table(pd.DataFrame(huge), "trials.json")
        run.log_text(OmegaConf.to_yaml({"sweep": {"objectives": objectives}}), "multirun.yaml")
    with pytest.raises(ConfigError, match="output_max_abs_error must be at most 1e"):
        fronts_of(store.sweeps("try out"))
