"""Where a store may have the artifacts of its runs. Shell: it reads the environment.

A store says so itself, run by run: a database that somebody else wrote, or a server that somebody else runs,
could send files and passwords elsewhere.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.domain.checks import require
from pipeline.domain.credentials import masked
from pipeline.domain.printable import printable

FOLDER_VARIABLE = "CARBONEDGE_ARTIFACT_FOLDER"
"""Environment variable: a folder of this machine in which an MLflow server may have its artifacts."""
WEB = ("http", "https", "mlflow-artifacts")
"""Schemes of addresses to which MLflow sends the password of its server."""
FOLDERS = ("", "file")
"""Schemes of folders of this machine."""
OBJECT_STORES = ("s3", "gs", "hdfs", "viewfs")
"""Schemes with accounts of their own. Others, such as `runs`, lead to an address that nobody has checked."""
_AZURE = ("core.windows.net", "core.chinacloudapi.cn", "core.usgovcloudapi.net")
HOSTS = {
    "r2": (".r2.cloudflarestorage.com",),
    **dict.fromkeys(("wasb", "wasbs"), tuple(f".blob.{end}" for end in _AZURE)),
    **dict.fromkeys(("abfs", "abfss"), tuple(f".dfs.{end}" for end in _AZURE)),
}
"""Ends of the hosts of object stores whose addresses name the host to which the account's keys go."""


_ACCOUNT = re.compile(r"([\w$-]+@)?[a-z0-9-]+(\.[a-z0-9-]+)*", re.IGNORECASE)
"""A container and a host: what takes an address apart otherwise than `urlsplit` may end it at a backslash."""


def allowed_folder() -> str:
    """The value of FOLDER_VARIABLE; empty: no folder."""
    return os.environ.get(FOLDER_VARIABLE, "")


def require_own_address(store: str, artifacts: str, folder: str = "") -> None:
    """Raise ConfigError unless a store may name an address of artifacts.

    store: its URI. artifacts: the address. folder: see `allowed_folder`. An address of the web must
    be the store's own; a server may name no folder of this machine but those in `folder`. Object stores and,
    for a database, folders are allowed. Each kind of address is read as MLflow reads it.
    """
    shown = f"({masked(printable(artifacts))})"
    foreign = f"tracking.uri: {masked(store)} names a foreign place for its artifacts {shown}"
    # `urlsplit` leaves out such characters, MLflow does not.
    require(artifacts.isprintable() and artifacts == artifacts.strip(), foreign)
    place, own = urlsplit(artifacts), urlsplit(store)
    is_server = own.scheme in ("http", "https")
    if place.scheme in WEB:
        # A password that was given to https must not go to http.
        same_way = place.scheme in (own.scheme, "mlflow-artifacts")
        at_home = is_server and same_way and place.netloc in ("", own.netloc.rpartition("@")[2])
        require(at_home, foreign)
    elif place.scheme not in FOLDERS:
        own_service = place.scheme == "dbfs" and store.startswith("databricks")
        whole = _ACCOUNT.fullmatch(place.netloc) is not None
        own_host = whole and (place.hostname or "").endswith(HOSTS.get(place.scheme, ()))
        require(own_service or own_host or place.scheme in OBJECT_STORES, foreign)
    elif is_server:
        path = _folder(artifacts).resolve()
        allowed = folder != "" and path.is_relative_to(Path(folder).resolve())
        why = f"tracking.uri: {masked(store)} names a folder of this machine for its artifacts {shown}"
        require(allowed, f"{why}: let the server serve them, or set {FOLDER_VARIABLE} to a folder to allow")


def require_runs_own_folder(artifacts: str, run_id: str) -> None:
    """Raise ConfigError for a folder of this machine that is not that of the run alone, before it is written.

    artifacts: the run's address of artifacts. A database, or links beside it, could lead to any folder;
    MLflow's own is `<run_id>/artifacts`, and it makes no links there. Other addresses are not checked.
    """
    if urlsplit(artifacts).scheme not in FOLDERS:
        return
    path = _folder(artifacts)
    shown = f"tracking.uri: the store has the artifacts of run {run_id} in {printable(str(path))}, which"
    own = path.resolve().parts[-2:] == (run_id, "artifacts")
    require(own, f"{shown} is not a folder of its own")
    link = next((each for each in path.rglob("*") if each.is_symlink()), None)
    require(link is None, f"{shown} leads elsewhere, by the link {link}")


def _folder(address: str) -> Path:
    """The folder that MLflow takes an address for."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(address))  # type: ignore[no-untyped-call]
