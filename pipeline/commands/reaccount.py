"""A finished run's ledger anew, `carbonedge reaccount RUN grid=... accounting=...`. Shell.

From its stored records, under another grid, attribution, PUE or boundary; logged as its child. The run
itself is not touched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from pipeline.carbon.accounting import COMPONENTS, Accounting, boundary
from pipeline.carbon.grid import Grid, require_average
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.ledger import account, unknown
from pipeline.commands.terminal import cli
from pipeline.domain.checks import ConfigError, require, utc
from pipeline.domain.fleet import Fleet, Link
from pipeline.domain.records import Records
from pipeline.domain.trial_result import TrialResult
from pipeline.results import tables
from pipeline.results.metrics import carbon_metrics, summed
from pipeline.tracking.stored import Stored
from pipeline.tracking.tracking import Tracking

HELP = cli.Help(
    "carbonedge reaccount RUN [grid=... accounting.idle=... fleet.devices.NAME.pue=... start_utc=...]",
    "Computes the ledger of a finished run again, under another grid, attribution, PUE or boundary.",
    "carbonedge reaccount 1f0c grid=static accounting.idle=marginal",
)
FAMILIES = ("grid", "accounting", "fleet")
CARRIED = ("model", "fleet", "partitioner", "scheduler", "backend", "grid", "measurement")
"""Tags that a re-accounted run has from the run."""


def records_of(stored: Stored) -> Records:
    """The records of a finished run. Raises ConfigError where it kept none."""
    require(
        "sweep" not in stored.tags, f"run {stored.run_id} ({stored.name}): is a sweep; re-account its runs"
    )
    require(stored.status == "FINISHED", f"run {stored.run_id}: is {stored.status}, not FINISHED")
    require(
        stored.params.get("per_request", "true").lower() != "false",
        f"run {stored.run_id}: kept no records (per_request: false)",
    )
    return Records.of(stored.table("records.json"), stored.json("run.json"))


def reconfigured(stored: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The run's config with other families where the overrides choose them (`grid=trace`), or other values.

    Raises ConfigError for what accounting does not read, and for another fleet, whose devices did not run.
    """
    require(len(overrides) > 0, f"nothing to change; usage: {HELP.usage}")
    config = stored.copy()
    chosen = {each.partition("=")[0] for each in overrides} & {*FAMILIES}
    own = []
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        family = key.partition(".")[0]
        require(
            (family in FAMILIES or key == "start_utc") and key != "fleet" and _is_read(key),
            f"{key}: accounting reads {', '.join(f'{each}.KEY' for each in FAMILIES)} and start_utc only",
        )
        if family in chosen:
            own.append(override)
        else:
            try:
                config.merge_with(OmegaConf.from_dotlist([override.lstrip("+")]))
            except (yaml.YAMLError, ValueError) as error:
                raise ConfigError(f"{key}: cannot be read ({str(error).splitlines()[0]})") from error
    composed = cli.config(own)
    for family in chosen:
        config[family] = composed[family]
    for family in FAMILIES:
        require(
            isinstance(config[family], DictConfig), f"{family}: must be a mapping (it is {config[family]!r})"
        )
    return config


def _is_read(key: str) -> bool:
    """Of a device or link accounting reads its coefficients, where they come from, and the zone."""
    parts = key.split(".")
    known = {*Accounting.COEFFICIENTS, *Link.COEFFICIENTS, "zone", "ranges", "sources"}
    return parts[0] != "fleet" or (len(parts) > 3 and parts[1] in ("devices", "links") and parts[3] in known)


def reaccount(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Compute the ledger anew, log it as a child of the run, print it."""
    about_store = [each for each in overrides if each.lstrip("+").startswith("tracking.")]
    about_run = [each for each in overrides if each not in about_store]
    tracking: Tracking = instantiate(cli.config(about_store).tracking)
    tracking.reach()
    stored = tracking.stored(names[0])
    records = records_of(stored)
    config = reconfigured(stored.config("config.yaml"), about_run)
    fleet: Fleet = instantiate(config.fleet, _convert_="all")
    grid: Grid = instantiate(config.grid, _convert_="all")
    require_average(grid)
    accounting: Accounting = instantiate(config.accounting, _convert_="all")
    if any(each.lstrip("+").startswith("start_utc=") for each in about_run):
        records = replace(records, start_utc=utc("start_utc", config.start_utc))
    intensity = Intensity.of(fleet, grid, records.start_utc, records.window_s)
    ledger = account(records, fleet, intensity, accounting)
    left_out = unknown(records, fleet)
    found = carbon_metrics(summed(ledger), left_out, int(stored.metrics["requests_ok"]), fleet, accounting)
    metrics = {key: value for key, value in stored.metrics.items() if not _of_carbon(key)} | found
    stated = boundary(left_out, accounting, grid.about())
    about = stored.json("run.json") | records.about()
    about |= {"grid": dict(grid.about()), "boundary": stated}
    tags = {key: stored.tags[key] for key in CARRIED if key in stored.tags}
    tags |= {"reaccounted_from": stored.run_id, "boundary": stated}
    varied = dict(each.lstrip("+").split("=", 1) for each in about_run)
    tags["grid"] = varied.get("grid", tags.get("grid", ""))
    child = replace(tracking, parent_run_id=stored.run_id)
    name = f"{stored.name} · {' '.join(about_run)}"
    with child.open_run(name, tags, {**stored.params, **varied}) as run:
        run.log_metrics(metrics)
        run.log_table(ledger, "ledger.json")
        run.log_table(records.table, "records.json")
        run.log_text(json.dumps(about, indent=1), "run.json")
        run.log_text(OmegaConf.to_yaml(config), "config.yaml")
    console = Console(highlight=False, soft_wrap=True)
    before = TrialResult(stored.run_id, f"as it was: {stored.run_id}", _shown(stored.metrics), {})
    tables.print_result(console, before)
    tables.print_result(
        console, TrialResult(run.run_id, f"now: {run.run_id}", _shown(metrics), {}, None, stated)
    )
    console.print(tracking.ui_command())


def _of_carbon(key: str) -> bool:
    """Whether accounting decides a metric; a regret was told of the carbon as it was."""
    ours = ("carbon_g_per_inf", "carbon_total_g", "energy_j_per_inf", "network_j_per_inf", "sci_g_per_inf")
    decided = {*ours, "inferences_per_g", "regret_to_oracle", *(f"carbon_{each}_g" for each in COMPONENTS)}
    return key.removesuffix("_low").removesuffix("_high") in decided


def _shown(metrics: Any) -> dict[str, float]:
    return {
        key: metrics[key]
        for key in ("carbon_g_per_inf", "inferences_per_g", "energy_j_per_inf")
        if key in metrics
    }


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(reaccount, HELP, num_names=1)
