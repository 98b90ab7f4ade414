"""MLflow's store in PostgreSQL, with a password: used as any other, and waited for when it has gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.domain.checks import ConfigError
from pipeline.tracking import mlflow_store
from pipeline.tracking.tracking import Tracking
from tests.postgres import postgres
from tests.tracking.conftest import ENVIRONMENT, run


@pytest.mark.full
def test_a_store_in_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ENVIRONMENT:
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)
    with postgres() as server:
        tracking = Tracking(uri=server.url)
        tracking.check()
        with tracking.open_run("first", {}, {}) as opened:
            opened.log_metrics({"carbon_total_g": 1.0})
            opened.log_text("text", "notes.txt")
            server.stop()
        assert "1 runs are pending in outbox" in tracking.farewell()
        assert "secret" not in tracking.farewell() + "".join(
            path.read_text() for path in Path("outbox").rglob("run.json")
        )
        with pytest.raises(ConfigError, match="Connection refused") as caught:
            tracking.check()
        assert "secret" not in str(caught.value)
        server.start()
        mlflow_store.retry_now()
        assert tracking.sync() == (1, 0, 0, 0)
        client = MlflowClient(server.url)
        assert client.get_run(opened.run_id).data.metrics == {"carbon_total_g": 1.0}
        assert client.get_run(run(tracking, "second")).info.status == "FINISHED"
