"""A served model runs our own loader, whoever wrote what was sent."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from pipeline.tracking.model_folder import LOADER, PARTS
from pipeline.tracking.outbox import Outbox
from pipeline.tracking.tracking import Tracking
from tests.tracking.conftest import run
from tests.tracking.test_outbox import MINE

EVIL = "flavors: {python_function: {loader_module: evil, code: code, env: conda.yaml}}"


def pending(store: Tracking, files: dict[str, str]) -> None:
    """An entry of anybody's that asks for its model to be registered."""
    sweep = run(store, "any")
    experiment = MlflowClient(store.uri).get_run(sweep).info.experiment_id
    entry = replace(
        MINE, uri=store.uri, status="FINISHED", end_ms=1, experiment_id=experiment, register="knee"
    )
    Outbox(Path("outbox"), entry.uri).save(entry)
    for name, text in files.items():
        path = Path("outbox/x/artifacts") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_model_is_written_anew_from_its_plan_and_description(store: Tracking, tmp_path: Path) -> None:
    evil = {"MLmodel": EVIL, "code/evil.py": "", "requirements.txt": "evil", "data/plan/more.py": ""}
    parts = {f"{PARTS}/plan.json": "{}", f"{PARTS}/model.yaml": "a: 1"}
    pending(store, {f"model/{name}": text for name, text in evil.items()} | parts | {"notes/a.txt": "text"})
    assert store.sync().sent == 1
    (version,) = MlflowClient(store.uri).search_model_versions("name = 'knee'")
    folder = Path(MlflowClient(store.uri).download_artifacts(str(version.run_id), "", str(tmp_path)))
    sent = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    kinds = ("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt")
    assert sent == {"notes/a.txt", *parts, *(f"model/{name}" for name in kinds)}
    described = yaml.safe_load((folder / "model/MLmodel").read_text())["flavors"]["python_function"]
    assert (described["loader_module"], described["code"]) == (LOADER, None)
    required = (folder / "model/requirements.txt").read_text().split()
    assert [each.partition("==")[0] for each in required] == ["mlflow", "carbonedge"]
    assert not Path("outbox").exists()


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"other/MLmodel": EVIL}, "other/MLmodel would be a model of another's making"),
        ({"MLmodel": EVIL}, "artifacts/MLmodel would be"),
        ({"models/deep/mlmodel": EVIL}, "deep/mlmodel would be"),
        ({"model/MLmodel": EVIL}, "plan.json, a part of its model, is missing"),
        ({f"{PARTS}/plan.json": "{}"}, "model.yaml, a part of its model, is missing"),
    ],
)
def test_a_model_of_anybodys_is_set_aside(
    store: Tracking, files: dict[str, str], complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    pending(store, files)
    assert store.sync() == (0, 0, 0, 1)
    assert complaint in caplog.text
    assert [path.name for path in Path("outbox/refused").iterdir()] == ["x"]
    shutil.rmtree("outbox")
