"""The `tracking` part of the config: opens and resumes runs, and hands pending ones on to be sent. Shell."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.domain.checks import require
from pipeline.domain.credentials import masked
from pipeline.domain.printable import printable
from pipeline.host.interrupts import signals_interrupt
from pipeline.host.processes import this_process
from pipeline.tracking import sending
from pipeline.tracking.artifact_address import allowed_folder, require_own_address
from pipeline.tracking.entry import PARENT_TAG, Entry
from pipeline.tracking.mlflow_run import Run, kept_tags
from pipeline.tracking.mlflow_store import (
    UnresponsiveError,
    create_experiment,
    get_run,
    local_artifact,
    optional_client,
    required_client,
    trouble,
)
from pipeline.tracking.outbox import OWNER_TAG, new_id, now_ms
from pipeline.tracking.patient_client import FORBIDDEN, one_line, status_of
from pipeline.tracking.stored import StoredRuns
from pipeline.tracking.ui_pages import experiment_tags, runs_page

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

OPEN = ("RUNNING", "SCHEDULED")
"""Statuses of a run that is not over."""


@dataclass(frozen=True)
class Tracking(StoredRuns):
    """The store of new runs, and their place in a sweep. `StoredRuns` finds and reads the runs of the store.

    Raises ConfigError naming the key that has a bad value.
    """

    parent_run_id: str | None = None
    """The sweep of which new runs are trials. Without one, a run that `mlflow run` opened is resumed."""
    varied: Sequence[str] = ()
    """Keys that vary in the sweep: params of every trial, even where it lacks one of them."""
    trial: int | None = None
    """The trial's number in the sweep; `deliver` sends its run. None: the run is sent when it ends."""
    deferred: bool = False
    """Whether MLflow gets a trial's run only when it is sent, and not when it begins."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            isinstance(self.deferred, bool),
            f"tracking.deferred must be true or false (deferred: {self.deferred!r})",
        )

    @property
    def names_varied(self) -> list[str]:
        """The params of the keys that vary: MLflow allows no `@` in them."""
        return [key.rpartition("@")[2] for key in self.varied]

    def check(self) -> None:
        """Connect to the store; create the store and the experiment if they do not exist.

        Raises ConfigError if that fails. Does nothing for a trial: its sweep has done it, and the trial's
        run can be sent later.
        """
        if self.trial is not None:
            return
        with self._client() as client:
            experiment_id = self._experiment_id(client)
            experiment = _experiment(client, experiment_id)
            require_own_address(self.address, experiment.artifact_location, allowed_folder())
            _checked[self.address] = experiment_id
            with suppress(Exception):  # they only choose what MLflow's UI shows first
                for tag, value in experiment_tags(now_ms()).items():
                    if tag not in experiment.tags:
                        client.set_experiment_tag(experiment_id, tag, value)

    def has(self, run_id: str, study: str) -> bool:
        """Whether the experiment has a run of this study's that is not deleted."""
        from mlflow.exceptions import MlflowException

        with self._client() as client:
            try:
                run = client.get_run(run_id)
                return bool(
                    run.info.lifecycle_stage == "active"
                    and run.info.experiment_id == self._experiment_id(client)
                    and run.data.tags.get("study") == study
                )
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False

    @contextmanager
    def open_run(
        self, name: str, tags: Mapping[str, str], params: Mapping[str, Any], resumed: str | None = None
    ) -> Iterator[Run]:
        """A run that is RUNNING inside the block, then FINISHED; FAILED on an error, KILLED on an interrupt.

        The error is raised again; the run's tag `failure` keeps its first line. In the main thread, SIGTERM
        or SIGHUP raises KeyboardInterrupt like Ctrl-C inside the block. A trial's run is held back until
        `deliver`. resumed: id of a run in the store to continue. Raises ConfigError if the store cannot be
        reached, unless the run is a new trial, and DiskError if a disk write fails.
        """
        with signals_interrupt():
            run = Run(self._start(name, tags, params, resumed), self._outbox)
            try:
                yield run
                run.end("FINISHED")
            except BaseException as error:
                with suppress(Exception):  # a further error of the store must not hide this one
                    run.set_tags({"failure": one_line(error)})
                    run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
                raise

    def deliver(self, run_ids: Collection[str]) -> None:
        """Send the runs of trials that the study has recorded, then other pending runs of this process.

        If the store is unresponsive, runs stay pending for the next call and for `sync`. Raises DiskError if
        a disk write fails.
        """
        sending.deliver(self._outbox, run_ids)

    def sync(self) -> sending.Synced:
        """Send the store's pending runs.

        Raises DiskError if a disk write fails.
        """
        return sending.sync(self._outbox)

    def trouble(self) -> str:
        """Why the store's last request failed, if it was unresponsive."""
        return trouble(self.address)

    def elsewhere(self) -> list[str]:
        """The other stores for which runs wait in the outbox."""
        return self._outbox.elsewhere()

    def settle(self, parent_run_id: str, known: Collection[str]) -> list[str]:
        """Clean up after a sweep that was killed: send the trials that its study has recorded (`known`).

        Other trials whose process is dead are discarded, and become KILLED in the store; they must be run
        again. Returns the run ids of those in the store. Raises ConfigError if the store cannot be reached.
        """
        sending.settle_pending(self._outbox, parent_run_id, known)
        with self._client() as client:
            return sending.kill_unrecorded(client, parent_run_id, known)

    def farewell(self) -> str:
        """The last lines of a command: how many runs are pending, if any, and how to see the results."""
        pending = sum(not entry.held_back for entry in self._outbox.ended())
        own = self.uri != StoredRuns.uri and "MLFLOW_TRACKING_URI" not in os.environ
        where = f" tracking.uri={masked(self.uri)}" if own else ""
        why = trouble(self.address)
        hint = (
            f"{pending} runs are pending in {self.outbox}, as the store is unresponsive"
            f"{f' ({why})' if why else ''}: carbonedge sync{where}"
        )
        experiment_id = _checked.get(self.address)
        page = "" if experiment_id is None else runs_page(printable(experiment_id))
        return "\n".join([*([hint] if pending else []), self.ui_command(page)])

    def found_at(self, run_id: str, path: str) -> str:
        """Where a run's artifact is: its path if it is on this machine, else the command to download it."""
        from mlflow.exceptions import MlflowException

        with suppress(UnresponsiveError, MlflowException), optional_client(self.address) as client:
            local = local_artifact(client, run_id, path)
            if local is not None:
                return shlex.quote(local)
        download = f"mlflow artifacts download --run-id {run_id} --artifact-path {path} --dst-path ."
        return f"MLFLOW_TRACKING_URI={shlex.quote(masked(self.address))} {download}"

    def register(self, run_id: str, name: str) -> str | None:
        """Register the model that a run has logged; its version, new or not (see `registered`).

        None if that waits in the outbox, as the store lacks the run or is unresponsive.
        """
        if not any(entry.run_id == run_id for entry in self._outbox.ended()):
            with suppress(UnresponsiveError), optional_client(self.address) as client:
                return sending.registered(client, sending.known_as(client, run_id), name)
        self._later(run_id, register=name)
        return None

    def _start(
        self, name: str, tags: Mapping[str, str], params: Mapping[str, Any], resumed: str | None
    ) -> Entry:
        """The entry of a new or resumed run, saved. Raises ConfigError and DiskError as `open_run`."""
        all_tags = {key: masked(str(value)) for key, value in tags.items()} | {
            OWNER_TAG: json.dumps(this_process())
        }
        texts, name = {key: masked(str(value)) for key, value in params.items()}, masked(name)
        texts |= {key: "–" for key in self.names_varied if key not in texts}
        if self.parent_run_id is not None:
            all_tags |= {PARENT_TAG: self.parent_run_id}
            all_tags |= {} if self.trial is None else {"trial": str(self.trial)}
        if self.parent_run_id is not None and resumed is None:
            entry = self._new(name, all_tags, texts, _experiment_of(self.address, self.parent_run_id))
        else:
            opened = os.environ.get("MLFLOW_RUN_ID") or None
            with self._client() as client:
                if opened is not None:
                    status = get_run(client, "MLFLOW_RUN_ID", opened).info.status
                    hint = "unset it, or name a run that is open, as mlflow run makes it"
                    require(status in OPEN, f"MLFLOW_RUN_ID: the run {opened} is {status}; {hint}")
                if (continued := resumed or opened) is None:
                    entry = self._new(name, all_tags, texts, self._experiment_id(client))
                else:
                    entry = self._continued(client, continued, name, all_tags, texts)
                    entry = replace(entry, shared=resumed is not None)
                    if opened not in (None, continued):
                        client.set_tag(opened, "continued_in", continued)
                        client.set_terminated(opened, "FINISHED")
                        client.delete_run(opened)  # it is empty: all went into the other
        self._outbox.save(entry)
        _experiments[self.address, entry.run_id] = entry.experiment_id
        return entry

    def _new(self, name: str, tags: dict[str, str], params: dict[str, str], experiment_id: str) -> Entry:
        """A new run; created in the store too, unless deferred or if the store is unresponsive.

        Raises ConfigError where the account may not create it: no later request will change that.
        """
        from mlflow.tracking.context.registry import resolve_tags  # user, source, git commit

        entry = Entry(
            new_id(), masked(self.address), experiment_id, name, now_ms(), this_process(),
            tags=resolve_tags() | tags, params=params, held_back=self.trial is not None,
        )  # fmt: skip
        if self.deferred:
            return entry
        try:
            with optional_client(self.address) as client:
                run_id = sending.created(client, entry)
        except UnresponsiveError as error:
            cannot = f"tracking.uri: cannot use {masked(self.address)!r}: {error}"
            require(self.parent_run_id is not None or status_of(error) not in FORBIDDEN, cannot)
            return entry
        return replace(entry, run_id=run_id, in_store=True, tags=kept_tags(entry.tags))

    def _continued(
        self, client: MlflowClient, run_id: str, name: str, tags: dict[str, str], params: dict[str, str]
    ) -> Entry:
        """A run of the store, set to RUNNING again under this name."""
        client.update_run(run_id, status="RUNNING", name=name)
        found = get_run(client, "run", run_id)
        if "failure" in found.data.tags:
            client.delete_tag(run_id, "failure")
        fresh = {key: value for key, value in params.items() if key not in found.data.params}
        return Entry(
            run_id, masked(self.address), found.info.experiment_id, name, now_ms(), this_process(),
            in_store=True, tags=kept_tags(found.data.tags) | tags, params=fresh,
            known_params=list(found.data.params),
        )  # fmt: skip

    def _experiment_id(self, client: MlflowClient) -> str:
        """Id of the experiment, created if new. Raises ConfigError if it is deleted or its name is bad."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or self.experiment
        if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            experiment = _experiment(client, experiment_id)
        elif (found := client.get_experiment_by_name(name)) is not None:
            experiment = found
        else:
            return create_experiment(client, name)
        require(
            experiment.lifecycle_stage == "active",
            f"tracking.experiment: {experiment.name!r} is deleted; name another one, or restore it by "
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}",
        )
        return str(experiment.experiment_id)


def _experiment(client: MlflowClient, experiment_id: str) -> Experiment:
    """An experiment by MLFLOW_EXPERIMENT_ID. Raises ConfigError, naming the variable, if there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(experiment_id)
    except MlflowException as error:
        unknown = error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
        require(not unknown, f"MLFLOW_EXPERIMENT_ID: the MLflow store has no experiment {experiment_id!r}")
        raise


_checked: dict[str, str] = {}
"""Id of the experiment that `check` found, by the store's URI."""
_experiments: dict[tuple[str, str], str] = {}
"""Id of the experiment of a run, by the store's URI and the run's id: of those opened here, or looked up."""


def _experiment_of(uri: str, run_id: str) -> str:
    """Id of the experiment of a sweep; the store need not answer where this process opened the sweep."""
    if (uri, run_id) not in _experiments:
        with required_client(uri) as client:
            experiment_id = get_run(client, "tracking.parent_run_id", run_id).info.experiment_id
        _experiments[uri, run_id] = str(experiment_id)
    return _experiments[uri, run_id]
