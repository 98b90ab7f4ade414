"""`carbonedge compare` and `.reaccount` on real runs in a real store; bad input in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from pipeline.commands.compare import compare
from pipeline.commands.paper import NAMES, paper_page
from pipeline.commands.reaccount import reaccount
from pipeline.commands.report import report
from pipeline.commands.terminal import error_message
from pipeline.domain.checks import ConfigError
from pipeline.network.images import preprocess
from tests.commands.conftest import SIMULATED, SMALL, carbonedge, client, runs, table
from tests.conftest import ROOT, configured

PUBLISHED = ROOT / "conf" / "published" / "carbonedge.csv"


def store(directory: Path) -> str:
    return f"tracking.uri=sqlite:///{directory}/mlflow.db"


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The same requests on node-medium and on node-green."""
    where = tmp_path_factory.mktemp("store")
    for device in ("node-medium", "node-green"):
        done = carbonedge(where, *SIMULATED, "workload.requests=20", f"partitioner.device={device}")
        assert done.code == 0, done.errors
    by_device = {run.data.params["devices"]: run.info.run_id for run in runs(where)}
    return where, by_device["node-medium"], by_device["node-green"]


def metrics(where: Path, run_id: str) -> dict[str, float]:
    found: dict[str, float] = client(where).get_run(run_id).data.metrics
    return found


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


def test_a_run_is_accounted_anew_and_left_alone(two_runs: tuple[Path, str, str]) -> None:
    where, medium, _ = two_runs
    before = client(where).get_run(medium).to_dictionary()
    nodes = ("node-high", "node-medium", "node-green")
    added = [
        f"+fleet.devices.{node}.{value}" for node in nodes for value in ("embodied_kg=50", "lifetime_years=5")
    ]
    reaccount([medium], ["fleet.devices.node-medium.pue=1.5", *added, store(where)])
    assert client(where).get_run(medium).to_dictionary() == before
    (child,) = [run for run in runs(where) if run.data.tags.get("reaccounted_from") == medium]
    assert child.data.tags["mlflow.parentRunId"] == medium
    old, new = before["data"]["metrics"], child.data.metrics
    assert new["carbon_dynamic_g"] == pytest.approx(1.5 * old["carbon_dynamic_g"])
    assert new["latency_ms_p50"] == old["latency_ms_p50"]
    assert new["energy_j_per_inf"] == pytest.approx(old["energy_j_per_inf"])
    window_s = 20 / old["throughput_rps"]
    assert new["carbon_embodied_g"] == pytest.approx(50e3 * window_s / (5 * 365.25 * 86400))
    assert new["sci_g_per_inf"] == pytest.approx(new["carbon_total_g"] / 20)
    assert "sci_g_per_inf" not in old


def test_the_same_coefficients_give_the_same_ledger(two_runs: tuple[Path, str, str]) -> None:
    """To the last digit, from records that went through the store; and a re-accounted run can be again."""
    where, _, green = two_runs
    reaccount([green], ["accounting.idle=full", store(where)])
    (child,) = [run for run in runs(where) if run.data.tags.get("reaccounted_from") == green]
    assert metrics(where, child.info.run_id) == metrics(where, green)
    reaccount([child.info.run_id], ["grid=static", store(where)])


def test_an_audit_says_where_every_gram_comes_from(
    two_runs: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, medium, _ = two_runs
    monkeypatch.chdir(tmp_path)
    before = len(runs(where))
    report([medium], [store(where)])
    assert len(runs(where)) == before
    audit = json.loads((tmp_path / f"audit-{medium}.json").read_text())
    shown = (tmp_path / f"audit-{medium}.html").read_text()
    own = metrics(where, medium)
    parts = {row["component"]: row for row in audit["components"]}
    assert sum(row["carbon_g"] for name, row in parts.items() if name != "total") == pytest.approx(
        own["carbon_total_g"]
    )
    assert parts["total"]["low_g"] < parts["total"]["carbon_g"] < parts["total"]["high_g"]
    by_name = {(row["owner"], row["coefficient"]): row for row in audit["coefficients"]}
    assert by_name["node-medium", "active_w"]["value"] == 84
    assert by_name["node-medium", "intensity_g_per_kwh"]["value"] == pytest.approx(530)
    assert audit["software"]["torch"]
    assert audit["grid"]["factor"] == "annual average"
    assert "embodied not known" in audit["sci"]["not told, as"]
    assert audit["method"]["devices"].startswith("simulated")
    for said in ("Counted: dynamic", "ISO/IEC 21031", "node-medium", "Coefficients"):
        assert said in shown
    assert "http" not in shown.replace("https://pypi", "")


def test_the_audit_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = ("workload.seed=1,2", "scheduler=fastest,greenest", "+sweep.baseline.scheduler=fastest")
    load = ("workload=poisson", "workload.duration_s=1", "partitioner.device=auto")
    done = carbonedge(tmp_path, "-m", *SIMULATED, *load, *seeds)
    assert done.code == 0, done.errors
    (parent,) = [run for run in runs(tmp_path) if "mlflow.parentRunId" not in run.data.tags]
    monkeypatch.chdir(tmp_path)
    report([parent.info.run_id], [store(tmp_path)])
    audit = json.loads((tmp_path / f"audit-{parent.info.run_id}.json").read_text())
    assert len(audit["trials"]) == 4
    assert {row["scheduler"] for row in audit["compared"]} == {"fastest", "greenest"}
    assert audit["software"]["torch"]
    assert audit["coefficients"]
    assert set(audit["front"]) <= {row["run_id"] for row in audit["trials"]}


@pytest.mark.full
def test_the_knee_of_a_sweep_answers_pictures_as_the_whole_model_does(tmp_path: Path) -> None:
    """`mlflow models predict` on a picture, by the registered model and by the unsplit network."""
    done = carbonedge(tmp_path, *SIMULATED, "sweep=pareto", "sweep.n_trials=6", "sweep.warm_start=exact")
    assert done.code == 0, done.errors
    assert "model carbonedge-mobilenetv4_conv_small-paper version 1" in done.output
    picture = tmp_path / "flower.png"
    Image.fromarray(load_sample_image("flower.jpg")).save(picture)
    split = {"columns": ["image"], "data": [[str(picture)], [b64encode(picture.read_bytes()).decode()]]}
    (tmp_path / "input.json").write_text(json.dumps({"dataframe_split": split}))
    answered = subprocess.run(
        [sys.executable, "-m", "mlflow", "models", "predict", "-t", "json", "-i", "input.json",
         "-o", "out.json", "--env-manager", "local",
         "-m", "models:/carbonedge-mobilenetv4_conv_small-paper/1"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"},
    )  # fmt: skip
    assert answered.returncode == 0, answered.stderr
    a, b = json.loads((tmp_path / "out.json").read_text())["predictions"]
    spec = configured("model", "mobilenetv4_conv_small", input_size=64)
    with torch.inference_mode():
        whole = spec.build()(preprocess(Image.open(picture), spec)).flatten().softmax(0)
    assert a == b
    assert a["class"] == int(whole.argmax())
    assert a["probability"] == pytest.approx(float(whole.max()), rel=1e-6)


@pytest.mark.full
def test_the_papers_page_is_measured_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [*SMALL, "workload.requests=3", "sweep.repeats=1", store(tmp_path)]
    small.remove("workload.requests=4")
    monkeypatch.chdir(tmp_path)
    paper_page([], small)
    text = Path("paper.md").read_text()
    for name in NAMES.values():
        assert f"| {name} |" in text
    assert "the exact front over split placements" in Path("paper.html").read_text()
    count = len(runs(tmp_path))
    [page] = [run for run in runs(tmp_path) if run.data.tags.get("sweep") == "paper"]
    sweeps = [run for run in runs(tmp_path) if run.data.tags.get("mlflow.parentRunId") == page.info.run_id]
    assert sorted(run.data.metrics["trials_complete"] for run in sweeps) == [6, 42]
    Path("paper.md").unlink()
    paper_page([], small)  # nothing is measured anew
    assert Path("paper.md").exists()
    assert len(runs(tmp_path)) == count + 1


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


@pytest.mark.parametrize("command", [reaccount, report])
def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, command: Any) -> None:
    with pytest.raises(ConfigError, match="there is no store"):
        command(["0" * 32], ["grid=static", store(tmp_path)] if command is reaccount else [store(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def published(folder: Path, *rows: str) -> str:
    text = "name,latency_ms_mean,carbon_g_per_inf,intensity_g_per_kwh"
    (folder / "own.csv").write_text("\n".join([text, *rows]))
    return str(folder / "own.csv")


def test_odd_names_and_other_rows_are_no_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = published(tmp_path, "x=1: [/b],100 ms,1,500", "same,1,2,500", "same again,1,n.k.,500")
    compare([f"{path}:x=1: [/b]", f"{path}:same"], [store(tmp_path)])
    assert "same emits 100.0% more than x=1: [/b]: energy +100.0%" in capsys.readouterr().out
    compare([f"{path}:same", f"{path}:same"], [store(tmp_path)])
    assert "same (B) emits as much as same (A): nothing sets them apart" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "usage"), [("compare", "compare A B"), ("reaccount", "reaccount RUN")])
def test_a_wrong_number_of_names_is_one_line(tmp_path: Path, name: str, usage: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("carbonedge")), name],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: usage: carbonedge {usage}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ([], "nothing to change"),
        (["fleet=boards"], "fleet: accounting reads"),
        (["model=resnet50"], "model: accounting reads"),
        (["accounting.idle=none"], "accounting.idle: must be one of"),
        (["fleet.devices.node-medium.pue=0.5"], "pue must be a number >= 1"),
        (["+fleet.devices.node-medium.lifetime_years=0"], "lifetime_years must be a number > 0"),
        (["grid=trace", "grid.path=no.csv"], "grid.path: no such file"),
        (["accounting.idel=full"], "accounting: unknown key 'idel'"),
        (["grid=null"], "grid=null"),
        (["accounting=5"], "accounting=5: Config group override must be"),
        (["fleet.devices.node-medium.speed=3"], "fleet.devices.node-medium.speed: accounting reads"),
        (["fleet.devices.node-medium.pue={"], "fleet.devices.node-medium.pue: cannot be read"),
        (["fleet.devices.node-medium.zone=NO"], "zone must be a text, in quotes"),
    ],
)
def test_a_bad_reaccount_writes_nothing(
    two_runs: tuple[Path, str, str], overrides: list[str], complaint: str
) -> None:
    where, medium, _ = two_runs
    before: list[Any] = [run.info.run_id for run in runs(where)]
    with pytest.raises(Exception) as caught:  # noqa: PT011 Hydra's own for an unknown key
        reaccount([medium], [*overrides, store(where)])
    assert complaint in (error_message.complaint(caught.value) or "")
    assert [run.info.run_id for run in runs(where)] == before
