"""`carbonedge compare` on real runs in a real store, and on published figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands.compare import compare
from pipeline.domain.checks import ConfigError
from pipeline.results.paper.published import PUBLISHED
from tests.commands.conftest import client, metrics, runs, store, table


def test_two_runs_are_told_apart(two_runs: tuple[Path, str, str]) -> None:
    where, medium, green = two_runs
    compare([medium, green], [store(where)])
    a, b = (metrics(where, run_id) for run_id in (medium, green))
    (run,) = [run for run in runs(where) if "verdict" in run.data.tags]
    found = run.data.metrics
    change = b["carbon_g_per_inf"] - a["carbon_g_per_inf"]
    assert found["change_g_per_inf"] == pytest.approx(change)
    assert sum(found[key] for key in found if key.startswith("change_by_")) == pytest.approx(change)
    assert found["change_g_per_inf_low"] < change < found["change_g_per_inf_high"]
    assert found["change_by_intensity_g_per_inf"] < 0  # 380 against 530 g/kWh
    assert "Within the coefficients' ranges" in run.data.tags["verdict"]
    artifacts = {each.path for each in client(where).list_artifacts(run.info.run_id)}
    assert artifacts >= {"effects.json", "figures.json", "waterfall.html"}


def test_what_the_paper_does_not_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Intensity explains more than the whole saving of MobileNetV2; its energy rose from 36.0 to 38.8 J."""
    names = [f"{PUBLISHED}:mobilenet_v2 {which}" for which in ("monolithic", "CE-Green")]
    compare(names, [store(tmp_path)])
    said = capsys.readouterr().out
    assert "explains 130% of the saving, more than the whole: energy per inference rose by 7.9%" in said
    (run,) = runs(tmp_path)
    energy = table(tmp_path, run.info.run_id, "figures.json").to_dict("records")[0]
    assert (energy["a"], energy["b"]) == pytest.approx((36.0, 38.84), rel=1e-3)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["0" * 32, "0" * 32], "run: the MLflow store has no run"),
        (["no.csv:x", "no.csv:y"], "no.csv:x: no such file"),
        ([f"{PUBLISHED}:x", f"{PUBLISHED}:x"], "carbonedge.csv: has 0 rows named 'x'"),
        ([f"{PUBLISHED}:mobilenet_v2 AMP4EC"] * 2, "AMP4EC: intensity_g_per_kwh must be a number > 0"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, names: list[str], complaint: str) -> None:
    (tmp_path / "mlflow.db").touch()
    with pytest.raises(ConfigError, match=complaint):
        compare(names, [store(tmp_path)])
    assert runs(tmp_path) == []


def published(folder: Path, *rows: str) -> str:
    text = "name,latency_ms_mean,carbon_g_per_inf,intensity_g_per_kwh"
    (folder / "own.csv").write_text("\n".join([text, *rows]))
    return str(folder / "own.csv")


def test_odd_names_and_other_rows_are_no_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = published(tmp_path, "x=1: [/b],100 ms,1,500", "same,1,2,500", "same again,1,n.k.,500")
    compare([f"{path}:x=1: [/b]", f"{path}:same"], [store(tmp_path)])
    assert "same emits 100.0% more than x=1: [/b]: energy +100.0%" in capsys.readouterr().out
    compare([f"{path}:same", f"{path}:same"], [store(tmp_path)])
    assert "same (B) emits as much as same (A): no effect differs" in capsys.readouterr().out
