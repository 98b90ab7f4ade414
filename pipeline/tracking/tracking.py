"""Where runs are written, and how they are found and read again. Shell."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow.entities
import pandas as pd
from mlflow.tracking import MlflowClient

from pipeline.domain.checks import ConfigError, require
from pipeline.host.interrupts import sigterm_interrupts
from pipeline.host.processes import alive, this_process
from pipeline.tracking.mlflow_run import Run, kept_tags, now_ms, send
from pipeline.tracking.mlflow_store import (
    KIND_TAG,
    SilentError,
    ask_again,
    create_experiment,
    get_run,
    one_line,
    patient,
    reaching,
    search,
)
from pipeline.tracking.outbox import KEY_TAG, REFUSED, Entry, Outbox, new_id
from pipeline.tracking.stored import Stored

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tracking:
    """Where runs are written. MLflow's environment variables, as `mlflow run` sets them, win."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "carbonedge"
    outbox: str = "outbox"
    """Folder of what the store has not taken yet."""
    parent_run_id: str | None = None
    """The sweep of which new runs are trials. Without one, a run that `mlflow run` opened is resumed."""
    unused: Sequence[str] = ()
    """Keys that vary in the sweep but not in this trial: params too, so that all its trials have the same."""
    trial: int | None = None
    """Its number in the sweep, which says when to send it; None: it is sent when it ends."""
    deferred: bool = False
    """Whether MLflow hears of a trial only when it is sent, and not when it begins."""

    def __post_init__(self) -> None:
        for name in ("uri", "experiment", "outbox"):
            value = getattr(self, name)
            require(
                isinstance(value, str) and value.strip() != "",
                f"tracking.{name} must be a text ({name}: {value!r})",
            )
        require(
            isinstance(self.deferred, bool),
            f"tracking.deferred must be true or false (deferred: {self.deferred!r})",
        )

    @property
    def _uri(self) -> str:
        return os.environ.get("MLFLOW_TRACKING_URI") or self.uri

    @property
    def _outbox(self) -> Outbox:
        return Outbox(Path(self.outbox))

    def check(self) -> None:
        """Reach the store, and create it and the experiment where new; ConfigError where that fails.

        Of a trial the sweep has done so, and what it writes may wait.
        """
        if self.trial is not None:
            return
        with self._reaching() as client:
            experiment_id = self._experiment_id(client)
            if KIND_TAG not in client.get_experiment(experiment_id).tags:
                client.set_experiment_tag(experiment_id, KIND_TAG, "custom_model_development")

    def reach(self) -> None:
        """Reach a store that is there already, and create nothing; ConfigError where there is none."""
        path = Path(self._uri.removeprefix("sqlite:///"))
        require(
            not self._uri.startswith("sqlite:///") or path.is_file(),
            f"tracking.uri: there is no store {self._uri!r}; name the one that has the run",
        )

    def ui_command(self) -> str:
        """How to look at the results."""
        uri = self._uri
        return f"open {uri}" if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"

    @contextmanager
    def open_run(
        self, name: str, tags: Mapping[str, str], params: Mapping[str, Any], resumed: str | None = None
    ) -> Iterator[Run]:
        """A run that is RUNNING inside the block, then FINISHED; FAILED on an error, KILLED on an interrupt.

        The error goes on to the caller; its one-line reason stays in the run's tag `failure`. In the
        main thread, SIGTERM is an interrupt (KeyboardInterrupt) like Ctrl-C while the block lasts.
        What a trial of a sweep finds is held back until `deliver`. resumed: a run to go on with, where the
        store has it.
        """
        with sigterm_interrupts():
            run = Run(self._start(name, tags, params, resumed), self._outbox)
            try:
                yield run
                run.end("FINISHED")
            except BaseException as error:
                with suppress(Exception):  # a store that fails now must not hide why we are here
                    run.set_tags({"failure": one_line(error)})
                    run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
                raise

    def deliver(self, run_ids: Collection[str], owner: Sequence[Any] | None = None) -> None:
        """Send these trials, which their study knows of now, and where the store takes them what has waited.

        What it does not take waits for the next ones, and for `sync`. owner: the process that wrote them;
        None: this one.
        """
        owner, taken = owner or this_process(), True
        for run_id in run_ids:
            if (entry := self._outbox.find(run_id)) is not None:
                entry = replace(entry, held_back=False)
                self._outbox.save(entry)
                taken = self._sent(entry) and taken
        for entry in list(self._outbox.entries()) if taken else ():
            mine = list(entry.owner) == list(owner)  # others send their own
            if mine and entry.status != "RUNNING" and not entry.held_back and not self._sent(entry):
                return

    def sync(self) -> tuple[int, int, int]:
        """Send all that waits: how many runs were sent, still wait, and are held back for their sweep."""
        ask_again()
        for entry in self._outbox.entries():  # whose process was killed; trials are their sweep's to settle
            if entry.status == "RUNNING" and entry.parent_run_id is None and not alive(entry.owner):
                tags = {**entry.tags, "failure": "killed"}
                self._outbox.save(replace(entry, status="KILLED", end_ms=now_ms(), tags=tags))
        ended = [entry for entry in self._outbox.entries() if entry.status != "RUNNING"]
        ready = [entry for entry in ended if not entry.held_back]
        sent = sum(self._sent(entry) for entry in ready)
        return sent, len(ready) - sent, len(ended) - len(ready)

    def _sent(self, entry: Entry) -> bool:
        """Whether the store has taken a run that has ended. What it will never take is told and set aside."""
        from mlflow.exceptions import MlflowException

        try:
            return send(entry, self._outbox)
        except MlflowException as error:
            what, where = entry.name or entry.run_id, self._outbox.folder / REFUSED / entry.folder
            _log.warning("MLflow does not take run %r, which is kept in %s: %s", what, where, one_line(error))
            return True

    def farewell(self) -> str:
        """How to look at the results, and what the store has not taken of them."""
        ended = [entry for entry in self._outbox.entries() if entry.status != "RUNNING"]
        waiting = sum(not entry.held_back for entry in ended)
        said = f"{waiting} runs wait in {self.outbox}, as the store does not answer: carbonedge sync"
        return "\n".join([*([said] if waiting else []), self.ui_command()])

    def settle(self, parent_run_id: str, known: Collection[str]) -> list[str]:
        """Tidy up after a sweep that was killed: its trials that its study knows of are sent; others, whose
        process has died, become KILLED, and are given back: they are run again."""
        for entry in list(self._outbox.entries()):
            if alive(entry.owner) or parent_run_id not in (entry.parent_run_id, entry.run_id):
                continue
            if entry.run_id == parent_run_id and entry.status != "RUNNING":
                self._sent(entry)
            elif entry.run_id in known:
                self.deliver([entry.run_id])
            else:
                self._outbox.remove(entry.folder)
        with self._reaching() as client:
            experiment_id = get_run(client, "settle", parent_run_id).info.experiment_id
            query = f"tags.`mlflow.parentRunId` = '{parent_run_id}' and attributes.status = 'RUNNING'"
            left = [
                run
                for run in search(client, experiment_id, query)
                if _key(run) not in known and not _lives(run.data.tags)
            ]
            for run in left:
                client.set_tag(run.info.run_id, "failure", "killed: the trial is run again")
                client.set_terminated(run.info.run_id, "KILLED")
        return [run.info.run_id for run in left]

    def link_killed(
        self, parent_run_id: str, by_trial: Mapping[int, str], known: Collection[str] = ()
    ) -> None:
        """Tell each killed run of a sweep which run has taken its trial's place (tag `rerun_as`).

        by_trial: of the trials that are complete, the run; known: all runs of complete trials. One that is
        not among them, and runs still says MLflow, was killed.
        """
        with suppress(SilentError), patient(self._uri) as client:
            experiment_id = get_run(client, "link_killed", parent_run_id).info.experiment_id
            query = f"tags.`mlflow.parentRunId` = '{parent_run_id}' and attributes.status != 'FINISHED'"
            for run in search(client, experiment_id, query):
                number, run_id = run.data.tags.get("trial", ""), run.info.run_id
                if not number.isdecimal() or int(number) not in by_trial or run.info.status == "FAILED":
                    continue
                if _key(run) in known:  # about to be sent
                    continue
                if run.info.status != "KILLED":
                    client.set_tag(run_id, "failure", "killed: the trial was run again")
                    client.set_terminated(run_id, "KILLED")
                if "rerun_as" not in run.data.tags:
                    client.set_tag(run_id, "rerun_as", by_trial[int(number)])

    def ids(self, parent_run_id: str) -> dict[str, str]:
        """Of a sweep's runs that MLflow did not know when they began, by the id of then, that of now."""
        ids: dict[str, str] = {}
        with suppress(SilentError), patient(self._uri) as client:
            experiment_id = get_run(client, "ids", parent_run_id).info.experiment_id
            query = f"tags.`mlflow.parentRunId` = '{parent_run_id}' and tags.{KEY_TAG} != ''"
            ids = {_key(run): run.info.run_id for run in search(client, experiment_id, query)}
        return ids

    def steps(self, run_id: str, key: str) -> set[int]:
        """At which steps a run has a metric already."""
        with self._reaching() as client:
            return {point.step for point in client.get_metric_history(run_id, key)}

    def has(self, run_id: str) -> bool:
        """Whether the experiment has a run that is not deleted."""
        from mlflow.exceptions import MlflowException

        with self._reaching() as client:
            try:
                info = client.get_run(run_id).info
                return bool(
                    info.lifecycle_stage == "active" and info.experiment_id == self._experiment_id(client)
                )
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False

    def register(self, run_id: str, name: str) -> str | None:
        """Register the model that a run has logged: its version, or None where the store does not answer.

        A run that goes on keeps its version, which stands for what the run has now.
        """
        from mlflow.exceptions import MlflowException

        try:
            with patient(self._uri) as client:
                with suppress(MlflowException):  # it is there already
                    client.create_registered_model(name)
                for known in client.search_model_versions(f"run_id = '{run_id}'"):
                    if known.name == name:
                        return str(known.version)
                source = f"{client.get_run(run_id).info.artifact_uri}/model"
                return str(client.create_model_version(name, source, run_id).version)
        except SilentError:
            return None

    def stored(self, run_id: str) -> Stored:
        """A run by its id; ConfigError where the store has none."""
        with self._reaching() as client:
            found = get_run(client, "run", run_id)
            return Stored(
                run_id, found.info.run_name, found.info.status, found.data.metrics, found.data.params,
                found.data.tags, client,
            )  # fmt: skip

    def tag_front(
        self, parent_run_id: str, run_ids: Collection[str], others: Collection[str], tag: str = "pareto"
    ) -> dict[str, str]:
        """Set pareto=true (or another tag) on these trials of a sweep, and remove it from its others.

        Gives the page in MLflow's UI of each that the store has.
        """
        pages: dict[str, str] = {}
        try:
            with patient(self._uri) as client:
                experiment_id = get_run(client, "tag_front", parent_run_id).info.experiment_id
                query = f"tags.`mlflow.parentRunId` = '{parent_run_id}'"
                known = {_key(run): run for run in search(client, experiment_id, query)}
                for run_id, run in known.items():
                    if (run_id in run_ids) == (run.data.tags.get(tag) == "true"):
                        continue
                    if run_id in run_ids:
                        client.set_tag(run.info.run_id, tag, "true")
                    else:
                        client.delete_tag(run.info.run_id, tag)
                missing = [run_id for run_id in run_ids if run_id not in known]
                pages = {
                    run_id: f"#/experiments/{experiment_id}/runs/{known[run_id].info.run_id}"
                    for run_id in run_ids
                    if run_id in known
                }
        except SilentError:
            missing = list(run_ids)
            for run_id in others:
                self._tag_later(run_id, {tag: "false"})
        for run_id in missing:
            self._tag_later(run_id, {tag: "true"})
        return pages

    def _tag_later(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Note tags of a run that the store cannot be told now."""
        entry = self._outbox.find(run_id)
        if entry is None:  # the run itself is in the store
            entry = Entry(run_id, self._uri, "", "", now_ms(), this_process(), in_store=True, status="")
        self._outbox.save(replace(entry, tags={**entry.tags, **tags}))

    def sweeps(self, experiment: str) -> list[Stored]:
        """The finished sweeps of an experiment, oldest first; ConfigError where it is not there."""
        with self._reaching() as client:
            found = client.get_experiment_by_name(experiment)
            if found is None:
                raise ConfigError(f"experiment: the MLflow store has none named {experiment!r}")
            query = "tags.sweep != '' and attributes.status = 'FINISHED'"
            return [self.stored(run.info.run_id) for run in search(client, found.experiment_id, query)]

    def children(self, parent_run_id: str) -> pd.DataFrame:
        """The trials of a sweep, oldest first: run_id, name, status, metrics.*, params.* and tags.*."""
        with self._reaching() as client:
            experiment_id = get_run(client, "children", parent_run_id).info.experiment_id
        query = f"tags.`mlflow.parentRunId` = '{parent_run_id}'"
        rows = [
            {"run_id": run.info.run_id, "name": run.info.run_name, "status": run.info.status}
            | {f"metrics.{key}": value for key, value in run.data.metrics.items()}
            | {f"params.{key}": value for key, value in run.data.params.items()}
            | {f"tags.{key}": value for key, value in run.data.tags.items()}
            for run in search(client, experiment_id, query)
        ]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["run_id", "name", "status"])

    def _start(
        self, name: str, tags: Mapping[str, str], params: Mapping[str, Any], resumed: str | None
    ) -> Entry:
        """The entry of a new run, or of one that goes on; in the store already, where it answers."""
        own = {key: str(value) for key, value in tags.items()} | {OWNER_TAG: json.dumps(this_process())}
        texts = {key: str(value) for key, value in params.items()}
        texts |= {key.rpartition("@")[2]: "–" for key in self.unused}
        if self.parent_run_id is not None:
            own |= {"mlflow.parentRunId": self.parent_run_id}
            own |= {} if self.trial is None else {"trial": str(self.trial)}
        if self.parent_run_id is not None and resumed is None:
            entry = self._new(name, own, texts, _experiment_of(self._uri, self.parent_run_id))
        else:
            opened = os.environ.get("MLFLOW_RUN_ID")
            with self._reaching() as client:
                if opened is not None:
                    get_run(client, "MLFLOW_RUN_ID", opened)
                if (going_on := resumed or opened) is None:
                    entry = self._new(name, own, texts, self._experiment_id(client))
                else:
                    entry = self._going_on(client, going_on, name, own, texts)
                    entry = replace(entry, shared=resumed is not None)
                    if opened not in (None, going_on):
                        client.set_tag(opened, "goes_on_in", going_on)
                        client.set_terminated(opened, "FINISHED")
        self._outbox.save(entry)
        return entry

    def _new(self, name: str, tags: dict[str, str], params: dict[str, str], experiment_id: str) -> Entry:
        from mlflow.tracking.context.registry import resolve_tags  # user, source, git commit

        entry = Entry(
            new_id(), self._uri, experiment_id, name, now_ms(), this_process(),
            tags=resolve_tags() | tags, params=params, held_back=self.trial is not None,
        )  # fmt: skip
        if self.deferred:
            return entry
        try:
            with patient(self._uri) as client:
                made = client.create_run(experiment_id, entry.start_ms, {**entry.tags}, name)
        except SilentError:
            return entry
        return replace(entry, run_id=made.info.run_id, in_store=True, tags=kept_tags(entry.tags))

    def _going_on(
        self, client: MlflowClient, run_id: str, name: str, tags: dict[str, str], params: dict[str, str]
    ) -> Entry:
        client.update_run(run_id, status="RUNNING", name=name)
        found = get_run(client, "run", run_id)
        if "failure" in found.data.tags:
            client.delete_tag(run_id, "failure")
        fresh = {key: value for key, value in params.items() if key not in found.data.params}
        return Entry(
            run_id, self._uri, found.info.experiment_id, name, now_ms(), this_process(),
            in_store=True, tags=kept_tags(found.data.tags) | tags, params=fresh,
            known_params=list(found.data.params),
        )  # fmt: skip

    def _experiment_id(self, client: MlflowClient) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or self.experiment
        if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            experiment = client.get_experiment(experiment_id)
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

    @contextmanager
    def _reaching(self) -> Iterator[MlflowClient]:
        with reaching(self._uri, "MLFLOW_TRACKING_URI" in os.environ) as client:
            yield client


OWNER_TAG = "process"
"""Tag of a run: the process that writes it, by which a killed one is told."""


def _key(run: mlflow.entities.Run) -> str:
    """What a study knows a run by: its id, or the one that it had before MLflow knew it."""
    return str(run.data.tags.get(KEY_TAG, run.info.run_id))


def _lives(tags: Mapping[str, str]) -> bool:
    return OWNER_TAG in tags and alive(json.loads(tags[OWNER_TAG]))


@functools.cache
def _experiment_of(uri: str, run_id: str) -> str:
    """The experiment of a sweep, asked for once."""
    with reaching(uri) as client:
        return str(get_run(client, "tracking.parent_run_id", run_id).info.experiment_id)
