"""Sends pending runs to MLflow: when they end, on a retry, or when a killed sweep is resumed. Shell."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.domain.checks import ConfigError
from pipeline.host.processes import alive, is_identity, this_process
from pipeline.tracking.entry import REFUSED, Entry
from pipeline.tracking.mlflow_store import UnresponsiveError, optional_client, retry_now, search
from pipeline.tracking.model_folder import DIGEST_TAG, with_model
from pipeline.tracking.outbox import KEY_TAG, OWNER_TAG, REQUEST_TAG, Outbox, now_ms
from pipeline.tracking.patient_client import BAD_REQUEST, once, one_line
from pipeline.tracking.stored import key_of, trials

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run
    from mlflow.tracking import MlflowClient

BATCH = 100
"""Params or tags per request, MLflow's limit. Metrics: eight times as many, within its limit of 1,000."""
_log = logging.getLogger(__name__)


class Outcome(Enum):
    """What became of an attempt to send a run."""

    SENT = "sent"
    WAITS = "waits"
    """The store is unresponsive."""
    REFUSED = "refused"
    """It is set aside for inspection."""


def send(entry: Entry, outbox: Outbox) -> Outcome:
    """Send a run that has ended and remove it from the outbox.

    Can be repeated, by other processes too, without logging anything twice. Raises MlflowException for a run
    that the store rejects (bad names, a deleted run), after marking it FAILED there and setting it aside.
    """
    from mlflow.exceptions import MlflowException

    try:
        with outbox.lock, optional_client(outbox.uri) as client:
            if not outbox.holds(entry):  # another process has sent it
                return Outcome.SENT
            try:
                outbox.require_own_files(entry)
            except ConfigError as error:
                aside = outbox.set_aside(entry.folder)
                _log.warning("run %r is not sent, as %s; it is kept in %s", entry.name, error, aside)
                return Outcome.REFUSED
            run_id = ""
            try:
                run_id = id_in_store(client, entry) or created(client, entry)
                _send_to(client, run_id, entry, outbox)
            except MlflowException as error:
                if error.error_code not in BAD_REQUEST:
                    raise
                if run_id and entry.status:
                    with suppress(MlflowException):
                        client.set_terminated(run_id, "FAILED")
                        client.set_tag(run_id, "failure", one_line(error))
                outbox.set_aside(entry.folder)
                raise
            outbox.remove(entry.folder)
    except UnresponsiveError as error:
        _log.debug("%s is pending in %s: %s", entry.name, outbox.folder, error)
        return Outcome.WAITS
    return Outcome.SENT


def _send_to(client: MlflowClient, run_id: str, entry: Entry, outbox: Outbox) -> None:
    """Log everything of an entry to a run."""
    tags = {} if entry.in_store else {KEY_TAG: entry.run_id}
    log_batches(client, run_id, replace(entry, tags={**entry.tags, **tags}))
    if entry.inputs:
        client.log_inputs(run_id, [_input(**fields) for fields in entry.inputs])
    if (files := outbox.files(entry)).is_dir():
        with with_model(files) as whole:
            client.log_artifacts(run_id, str(whole))
    for tag in entry.untag:
        if tag in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, tag)
    if entry.register:
        registered(client, run_id, entry.register)
    if entry.end_ms is not None:
        client.set_terminated(run_id, entry.status, entry.end_ms)


def send_or_warn(entry: Entry, outbox: Outbox) -> Outcome:
    """As `send`, but a run that the store rejects is logged as a warning."""
    from mlflow.exceptions import MlflowException

    try:
        return send(entry, outbox)
    except MlflowException as error:
        name, kept = entry.name or entry.run_id, outbox.folder / REFUSED
        _log.warning("MLflow rejects run %r, which is kept in %s: %s", name, kept, one_line(error))
        return Outcome.REFUSED


def deliver(outbox: Outbox, run_ids: Collection[str], owner: Sequence[Any] | None = None) -> None:
    """Send these runs, then other pending runs of their owner process, until the store is unresponsive.

    owner: the process that wrote them; None: this one. Raises DiskError if a disk write fails.
    """
    owner, responsive = owner or this_process(), True
    for run_id in run_ids:
        if (entry := outbox.find(run_id)) is not None:
            entry = replace(entry, held_back=False)
            outbox.save(entry)
            responsive = send_or_warn(entry, outbox) is not Outcome.WAITS and responsive
    for entry in outbox.ended() if responsive else ():
        mine = list(entry.owner) == list(owner)  # other processes send their own
        if mine and not entry.held_back and send_or_warn(entry, outbox) is Outcome.WAITS:
            return


class Synced(NamedTuple):
    """The number of pending runs by what became of them."""

    sent: int
    waiting: int
    """Those that an unresponsive store did not take."""
    held_back: int
    """Those that wait for an interrupted sweep."""
    refused: int
    """Those that are set aside, as the store will never take them."""


def sync(outbox: Outbox) -> Synced:
    """Send the store's pending runs.

    A run whose process was killed becomes KILLED first; `settle` does that for the trials of a sweep. Raises
    DiskError if a disk write fails.
    """
    retry_now()
    for entry in outbox.entries():
        if entry.status == "RUNNING" and entry.parent_run_id is None and not alive(entry.owner):
            tags = {**entry.tags, "failure": "killed"}
            outbox.save(replace(entry, status="KILLED", end_ms=now_ms(), tags=tags))
    ended = outbox.ended()
    ready = [entry for entry in ended if not entry.held_back]
    outcomes = Counter(send_or_warn(entry, outbox) for entry in ready)
    sent, waiting, refused = (outcomes[each] for each in (Outcome.SENT, Outcome.WAITS, Outcome.REFUSED))
    return Synced(sent, waiting, len(ended) - len(ready), refused)


def settle_pending(outbox: Outbox, parent_run_id: str, recorded: Collection[str]) -> None:
    """For a sweep that was killed: send its trials that the study has recorded, and discard the others.

    Runs whose process is alive are left alone. Raises DiskError if a disk write fails.
    """
    for entry in outbox.entries():
        if alive(entry.owner) or parent_run_id not in (entry.parent_run_id, entry.run_id):
            continue
        if entry.run_id == parent_run_id and entry.status != "RUNNING":
            send_or_warn(entry, outbox)
        elif entry.run_id in recorded:
            deliver(outbox, [entry.run_id])
        else:
            outbox.remove(entry.folder)


def kill_unrecorded(client: MlflowClient, parent_run_id: str, recorded: Collection[str]) -> list[str]:
    """Set to KILLED the RUNNING trials of a sweep whose process is dead and which its study does not have.

    Returns their run ids. Raises ConfigError if the store does not have the sweep.
    """
    running = trials(client, "settle", parent_run_id, "attributes.status = 'RUNNING'")
    killed = [run for run in running if key_of(run) not in recorded and not _owner_alive(run)]
    for run in killed:
        client.set_tag(run.info.run_id, "failure", "killed: the trial is run again")
        client.set_terminated(run.info.run_id, "KILLED")
    return [run.info.run_id for run in killed]


def _owner_alive(run: Run) -> bool:
    owner = run.data.tags.get(OWNER_TAG)
    return owner is not None and is_identity(found := json.loads(owner)) and alive(found)


def id_in_store(client: MlflowClient, entry: Entry) -> str | None:
    """MLflow's id of an entry's run; None if it has no such run."""
    if not entry.in_store:
        return _requested(client, entry)
    # A run that was opened has the store's own id; one that is tagged later has that of its study.
    return entry.run_id if entry.status else known_as(client, entry.run_id)


def known_as(client: MlflowClient, key: str) -> str:
    """MLflow's id of a run that a study refers to by `key_of`, perhaps the id that it had in an outbox.

    Raises MlflowException where it has no such run.
    """
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(key).info.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        experiments = [each.experiment_id for each in client.search_experiments()]
        query = f"tags.{KEY_TAG} = '{key}'"
        found = next((run for each in experiments for run in search(client, each, query)), None)
        if found is None:
            raise
        return str(found.info.run_id)


def created(client: MlflowClient, entry: Entry) -> str:
    """Create the run of a new entry; return its id in MLflow. A lost answer makes no second run."""
    tags = {**entry.tags, REQUEST_TAG: entry.run_id}
    name = tags.pop("mlflow.runName", entry.name)  # set if the run was renamed

    def create() -> str:
        return str(client.create_run(entry.experiment_id, entry.start_ms, tags, name).info.run_id)

    return once(create, lambda: _requested(client, entry))


def _requested(client: MlflowClient, entry: Entry) -> str | None:
    found = next(search(client, entry.experiment_id, f"tags.{REQUEST_TAG} = '{entry.run_id}'"), None)
    return None if found is None else str(found.info.run_id)


def registered(client: MlflowClient, run_id: str, name: str) -> str:
    """Register the model that a run has logged, unless the latest version is the same; the version.

    A resumed run keeps its version, which then refers to its present model.
    """
    from mlflow.exceptions import MlflowException

    run = client.get_run(run_id)
    digest = run.data.tags.get(DIGEST_TAG, "")

    def find() -> str | None:
        versions = client.search_model_versions(f"run_id = '{run_id}'")
        return next((str(version.version) for version in versions if version.name == name), None)

    def create() -> str:
        source = f"{run.info.artifact_uri}/model"
        return str(client.create_model_version(name, source, run_id, tags={DIGEST_TAG: digest}).version)

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in BAD_REQUEST:  # it exists already
            raise
    if (own := find()) is not None:
        client.set_model_version_tag(name, own, DIGEST_TAG, digest)
        return own
    return _same_as_latest(client, name, digest) or once(create, find)


def _same_as_latest(client: MlflowClient, name: str, digest: str) -> str | None:
    """The latest version of a model, if it has this digest and its run is not deleted."""
    versions = client.search_model_versions(f"name = '{name}'")
    latest = max(versions, key=lambda version: int(version.version), default=None)
    if latest is None or not digest or latest.tags.get(DIGEST_TAG) != digest or not latest.run_id:
        return None
    return str(latest.version) if _is_active(client, latest.run_id) else None


def _is_active(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _input(name: str, digest: str, source: str, context: str) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(name, digest, "local", json.dumps({"uri": source}))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


def log_batches(client: MlflowClient, run_id: str, entry: Entry) -> None:
    """Log an entry's metrics, params and tags in as few requests as MLflow's limits allow."""
    from mlflow.entities import Metric, Param, RunTag

    metrics = [Metric(*point) for point in entry.metrics]
    params = [Param(key, value) for key, value in entry.params.items()]
    tags = [RunTag(key, value) for key, value in entry.tags.items()]
    for first in range(0, max(len(params), len(tags), -(-len(metrics) // 8)), BATCH):
        part = slice(first, first + BATCH)
        client.log_batch(run_id, metrics[8 * first : 8 * (first + BATCH)], params[part], tags[part])
