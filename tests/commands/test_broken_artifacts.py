"""Artifacts that are broken, foreign or of another version: one line that names the file, in all commands."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.commands.compare import compare
from pipeline.commands.reaccount import reaccount
from pipeline.commands.report import report
from pipeline.commands.terminal.error_message import complaint
from pipeline.domain.checks import ConfigError
from pipeline.tracking.stored import Stored, StoredRuns
from tests.commands.conftest import client, runs, store

Change = Callable[[Any], Any]
COMMANDS: dict[str, Callable[[str, str], tuple[Callable[..., None], Sequence[str], Sequence[str]]]] = {
    "report": lambda a, b: (report, [a], []),
    "compare": lambda a, b: (compare, [a, b], []),
    "reaccount": lambda a, b: (reaccount, [a], ["start_utc=2021-01-01T00:00"]),
}
READ = {
    "report": ("config.yaml", "run.json", "ledger.json", "records.json"),
    "compare": ("config.yaml", "run.json", "ledger.json", "records.json"),
    "reaccount": ("config.yaml", "run.json", "records.json"),
}


def without(*keys: str) -> Change:
    return lambda content: {key: value for key, value in content.items() if key not in keys}


def put(key: str, value: Any) -> Change:
    return lambda content: {**content, key: value}


def columns(change: Change) -> Change:
    """A change of a table's column names."""
    return lambda content: {**content, "columns": change(content["columns"])}


def cell(column: str, value: Any) -> Change:
    """Another value in the first row of a table's column."""

    def changed(content: Any) -> Any:
        place = content["columns"].index(column)
        first, *rest = content["data"]
        return {**content, "data": [[*first[:place], value, *first[place + 1 :]], *rest]}

    return changed


TABLE = [
    columns(lambda names: names[::-1]),
    columns(lambda names: [f"other {name}" for name in names]),
    columns(lambda names: names[:-1]),
    put("data", [[1]]),
    put("data", "text"),
    put("dtype", "no such type"),
    put("unknown", 1),
]
CHANGES: dict[str, list[Change]] = {
    "run.json": [
        without("start_utc"),
        without("reserved", "window_s"),
        put("start_utc", 17),
        put("start_utc", "0000-01-01T00:00"),
        put("start_utc", "the day before"),
        put("window_s", -5),
        put("window_s", math.nan),
        put("window_s", 1e300),
        put("window_s", "long"),
        put("reserved", None),
        put("reserved", [["node-green"]]),
        put("reserved", []),
        put("reserved", ["node-medium", "ghost"]),
        put("measurement", {"a": 1}),
        put("grid", {"mean_g_per_kwh": -500}),
        put("meter", {"host": [{"energy_j": -5}]}),
        put("profile", {"mobilenet": {"reference_cpu_s": 1e300}}),
    ],
    "ledger.json": [
        *TABLE,
        cell("device", "elsewhere"),
        cell("component", "soul"),
        cell("energy_j", -1.0),
        cell("energy_j", None),
        cell("carbon_g", math.inf),
        cell("carbon_g", "much"),
        cell("pue", -1.0),
        cell("pue", 0.5),
        cell("energy_j", 1e300),
        cell("carbon_g", 1e300),
        cell("intensity_g_per_kwh", 1e9),
        cell("carbon_g", 1.0),
        cell("energy_j", 1e-9),
        cell("stage", None),
        cell("request", 0.5),
        cell("link", "evil"),
    ],
    "records.json": [
        *TABLE,
        cell("device", "elsewhere"),
        cell("start_s", -1.0),
        cell("end_s", None),
        cell("end_s", "late"),
        cell("end_s", -1.0),
        cell("end_s", 1e12),
        cell("queued_s", -1e200),
        cell("stage", "first"),
        cell("request", None),
        cell("device", "node-green"),
        cell("kind", "rejected"),
    ],
    "config.yaml": [
        without("fleet"),
        without("accounting"),
        put("fleet", {}),
        put("fleet", "paper"),
        put("fleet", {"_target_": "pipeline.domain.fleet.Fleet.of"}),
        lambda config: put("fleet", without("_target_")(config["fleet"]))(config),
        lambda config: put("fleet", put("devices", [])(config["fleet"]))(config),
        lambda config: put("fleet", put("devices", {"a": None})(config["fleet"]))(config),
        lambda config: put("fleet", put("devices", {"a": {"active_w": "x"}})(config["fleet"]))(config),
        put("accounting", None),
        lambda config: put("accounting", put("idle", 7)(config["accounting"]))(config),
        lambda config: put("accounting", put("ranges", {"a": 1})(config["accounting"]))(config),
    ],
}
TEXTS = [
    "",
    "{}",
    "[]",
    "null",
    "17",
    "{",
    "[" * 100_000,
    '{"a":' * 100_000,
    "\x00",
    "é" * 3,
    '{"a": {"b": [1, {}]}}',
]


@pytest.fixture
def artifact(two_runs: tuple[Path, str, str]) -> Iterator[Callable[[str], Path]]:
    """The file of an artifact of the first run, which has its content again afterwards."""
    where, run_id, _ = two_runs
    found = client(where).get_run(run_id).info.artifact_uri
    folder = Path(str(found).removeprefix("file://"))
    folder = folder if folder.is_absolute() else where / folder
    kept = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    yield lambda name: folder / name
    for path, content in kept.items():
        path.write_bytes(content)


SEEN_IN = {"run.json": "records.json"}
"""Where a change of a file may show: one contradicts the other."""
SOME = [pytest.param(name, marks=[pytest.mark.full] * (name != "report")) for name in COMMANDS]
"""By default one of them: each reads by the same functions."""


@pytest.mark.full
@pytest.mark.parametrize("command", SOME)
def test_a_broken_artifact_is_one_line_that_names_it(
    command: str,
    two_runs: tuple[Path, str, str],
    artifact: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    where, run_id, other = two_runs
    run, names, overrides = COMMANDS[command](run_id, other)
    before = len(runs(where))
    bad: list[str] = []
    for name in READ[command]:
        path = artifact(name)
        whole = path.read_text()
        content = yaml.safe_load(whole) if name.endswith("yaml") else json.loads(whole)
        changed = [json.dumps(change(content)) for change in CHANGES[name]]
        for number, text in enumerate([*TEXTS, *changed]):
            path.write_text(text)
            try:
                run(names, [*overrides, store(where)])
            except Exception as error:
                line = complaint(error)
                named = line is not None and (f"its {name}" in line or f"{SEEN_IN.get(name, name)} " in line)
                if not isinstance(error, ConfigError) or not named:
                    bad.append(f"{name} {number} {text[:60]!r}: {type(error).__name__} {error}")
            else:
                bad.append(f"{name} {number} {text[:60]!r}: taken")
        path.write_text(whole)
    assert bad == []
    assert len(runs(where)) == before
    assert [*tmp_path.iterdir()] == []


IMPOSSIBLE = {
    "requests_ok": (-5.0, 0.0, 2.5, 1e300, 19.0),
    "requests_failed": (1.0,),
    "stages": (1e15,),
    "latency_ms_mean": (-8.5, 1e300, math.nan, math.inf, 1e6),
    "latency_ms_p95": (0.0, 1e6),
    "latency_ms_p99": (1e6,),
    "energy_j_per_inf": (-3.0, 1e300, 1e-300),
    "carbon_g_per_inf": (-1.0, math.nan, 1e18),
    "throughput_rps": (1e300, -1.0, 1e9),
    "carbon_network_g": (1e17,),
    "of another version": (math.inf,),
}
"""Values that no run has, by metric: of 20 requests answered."""
ALLOWED = {
    "report": set(),
    "compare": set(),
    "reaccount": {("energy_j_per_inf", 1e-300), ("carbon_g_per_inf", 1e18)},
}
"""What does not follow from the ledger, which `reaccount` computes anew."""
NAMED = {("requests_ok", 19.0): "carbon_g_per_inf", ("carbon_network_g", 1e17): "carbon_total_g"}
"""What is found to be wrong first instead."""


@pytest.mark.parametrize("command", SOME)
def test_an_impossible_metric_is_one_line_that_names_it(
    command: str, two_runs: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where, run_id, other = two_runs
    run, names, overrides = COMMANDS[command](run_id, other)
    before, real = len(runs(where)), StoredRuns.stored
    for key, values in IMPOSSIBLE.items():
        for value in values:

            def tampered(self: StoredRuns, wanted: str, key: str = key, value: float = value) -> Stored:
                found = real(self, wanted)
                return replace(found, metrics={**found.metrics, key: value}) if wanted == run_id else found

            if (key, value) in ALLOWED[command]:
                continue
            monkeypatch.setattr(StoredRuns, "stored", tampered)
            with pytest.raises(ConfigError) as caught:
                run(names, [*overrides, store(where)])
            assert str(caught.value).startswith(f"run {run_id} (")
            assert key in str(caught.value) or NAMED.get((key, value), key) in str(caught.value)
            assert "\n" not in str(caught.value)
    assert len(runs(where)) == before
    assert [*tmp_path.iterdir()] == []
