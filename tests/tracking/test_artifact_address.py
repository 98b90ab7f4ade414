"""No store sends files or passwords to where it has no business."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.tracking.artifact_address import require_own_address, require_runs_own_folder

SERVER, DATABASE = "https://me:hunter2@mlflow.org:8443/base", "sqlite:///mlflow.db"
FOREIGN = [
    (store, scheme)
    for store in (SERVER, DATABASE)
    for scheme in ("runs", "models", "dbfs", "ftp", "sftp", "plugin", "uc")
]


@pytest.mark.parametrize(
    ("store", "artifacts", "folder", "fault"),
    [
        (SERVER, "mlflow-artifacts:/1/run/artifacts", "", None),
        (SERVER, "mlflow-artifacts://mlflow.org:8443/1/run/artifacts", "", None),
        (SERVER, "https://mlflow.org:8443/api/2.0/mlflow-artifacts/artifacts/1", "", None),
        (SERVER, "s3://bucket/1/run/artifacts", "", None),
        (SERVER, "mlflow-artifacts://evil.org/1", "", "names a foreign place"),
        (
            SERVER,
            "https://evil.org/api/2.0/mlflow-artifacts/artifacts/1",
            "",
            "names a foreign place",
        ),
        (SERVER, "https://mlflow.org:8443@evil.org/1", "", "names a foreign place"),
        (SERVER, "https://evil.org\\@mlflow.org:8443/1", "", "names a foreign place"),
        (SERVER, "https://mlflow.org/1", "", "names a foreign place"),
        (SERVER, "/home/me/.ssh", "", "names a folder of this machine"),
        (SERVER, "file:///home/me/.ssh", "", "names a folder of this machine"),
        (SERVER, "./mlruns/1", "", "names a folder of this machine"),
        (SERVER, "/shared/mlruns/1/run/artifacts", "/shared/mlruns", None),
        (SERVER, "/shared/mlruns/../../home/me", "/shared/mlruns", "names a folder of this machine"),
        (SERVER, "/shared/mlruns-of-others", "/shared/mlruns", "names a folder of this machine"),
        (DATABASE, "/home/me/mlruns/1/run/artifacts", "", None),
        (DATABASE, "file:///home/me/mlruns/1", "", None),
        (DATABASE, "s3://bucket/1", "", None),
        ("databricks", "dbfs:/databricks/mlflow-tracking/1", "", None),
        *((store, f"{scheme}:/0123/z", "", "names a foreign place") for store, scheme in FOREIGN),
        (
            DATABASE,
            "http://127.0.0.1:8765/api/2.0/mlflow-artifacts/artifacts/x",
            "",
            "names a foreign place",
        ),
        (DATABASE, "mlflow-artifacts:/1/run/artifacts", "", "names a foreign place"),
        # What MLflow takes for a path although it looks like something else.
        *((store, "c:/../../home/me", "", "names a foreign place") for store in (SERVER, DATABASE)),
        *(
            (store, "\tfile:///a/run/artifacts?/../../home/me", "", "foreign place")
            for store in (SERVER, DATABASE)
        ),
        (DATABASE, "/home/me ", "", "names a foreign place"),
        (SERVER, "/shared/mlruns/%2e%2e/private", "/shared/mlruns", "names a folder of this machine"),
        (SERVER, "FILE:///home/me", "/home/me", "names a folder of this machine"),
        # To whom the keys of an object store would go.
        (DATABASE, "r2://bucket@account.r2.cloudflarestorage.com/1", "", None),
        (DATABASE, "r2://bucket@evil.org/1", "", "names a foreign place"),
        *(
            (DATABASE, f"{scheme}://c@{host}/1", "", fault)
            for scheme, kind in (("wasb", "blob"), ("wasbs", "blob"), ("abfs", "dfs"), ("abfss", "dfs"))
            for host, fault in (
                (f"me.{kind}.core.windows.net", None),
                ("127.0.0.1:8443", "names a foreign place"),
                (f"evil{kind}.core.windows.net.evil.org", "names a foreign place"),
                (f"evil.org\\.{kind}.core.windows.net", "names a foreign place"),
                (f"evil.org%2F.{kind}.core.windows.net", "names a foreign place"),
            )
        ),
        # A password that was given to https.
        (SERVER, "http://mlflow.org:8443/api/2.0/mlflow-artifacts/artifacts/1", "", "names a foreign place"),
    ],
)
def test_which_addresses_a_store_may_name(store: str, artifacts: str, folder: str, fault: str | None) -> None:
    with pytest.raises(ConfigError, match=fault) if fault else nullcontext() as caught:
        require_own_address(store, artifacts, folder)
    assert fault is None or "hunter2" not in str(caught)


def test_a_run_is_written_into_a_folder_of_its_own(tmp_path: Path) -> None:
    """A database of somebody else names any folder, and links among its artifacts lead to any file."""
    own = tmp_path / "my runs" / "1" / "0ab" / "artifacts"
    own.mkdir(parents=True)
    (own / "front.json").write_text("{}")
    for address in (f"{own}", f"file://{own}".replace(" ", "%20"), "s3://bucket/any", "mlflow-artifacts:/1"):
        require_runs_own_folder(address, "0ab")
    for address in (f"{tmp_path}", f"file://{tmp_path}", f"{own}/..", f"{own.parent.parent}/0cd/artifacts"):
        with pytest.raises(ConfigError, match=r"^tracking\.uri: .*run 0ab .* not a folder of its own$"):
            require_runs_own_folder(address, "0ab")
    linked = tmp_path / "0ab" / "artifacts"
    linked.parent.mkdir()
    linked.symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ConfigError, match="is not a folder of its own"):
        require_runs_own_folder(f"{linked}", "0ab")
    quoted = tmp_path / "a%2Fb" / "0ab" / "artifacts"
    quoted.mkdir(parents=True)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ConfigError, match="leads elsewhere|is not a folder of its own"):
        require_runs_own_folder(f"{quoted}", "0ab")  # MLflow writes to a/b/0ab/artifacts
    (own / "front.html").symlink_to(tmp_path / "profile")
    with pytest.raises(ConfigError, match=rf"leads elsewhere, by the link {re.escape(str(own))}/front.html$"):
        require_runs_own_folder(f"{own}", "0ab")
