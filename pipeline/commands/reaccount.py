"""`carbonedge reaccount RUN grid=... accounting=...`: the ledger of a finished run, computed again. Shell.

The ledger is computed from the stored records, under another grid, attribution, PUE or boundary, and logged
as a child of the run. The run itself is not changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.commands.terminal import cli
from pipeline.domain.checks import ConfigError, first_line, require, utc
from pipeline.domain.plain_yaml import dumped

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.commands.stored_run import StoredRun
    from pipeline.domain.records import Records
    from pipeline.results.accountant import Accounted
    from pipeline.tracking.stored import Stored
    from pipeline.tracking.tracking import Tracking

HELP = cli.Help(
    "carbonedge reaccount RUN [grid=... accounting.idle=... fleet.devices.NAME.pue=... start_utc=...]",
    "Computes the ledger of a finished run again, under another grid, attribution, PUE or boundary.",
    "carbonedge reaccount 1f0c4be27a604c7f9d3f0d6a8f5b21c7 grid=static accounting.idle=marginal",
)
FAMILIES = ("grid", "accounting", "fleet")
"""Config groups that accounting reads."""
CARRIED = ("model", "fleet", "partitioner", "scheduler", "backend", "grid", "measurement")
"""Tags that a re-accounted run inherits from the run."""


def _recorded(stored: Stored) -> tuple[StoredRun, Records]:
    """A finished run and its records. Raises ConfigError where it kept none, and as `StoredRun.of`."""
    from pipeline.commands.stored_run import StoredRun

    require(
        "sweep" not in stored.tags, f"run {stored.run_id} ({stored.name}): is a sweep; re-account its runs"
    )
    require(stored.status == "FINISHED", f"run {stored.run_id}: is {stored.status}, not FINISHED")
    require(
        stored.params.get("per_request", "true").lower() != "false",
        f"run {stored.run_id}: kept no records (per_request: false)",
    )
    require(stored.has_table("records.json"), f"{stored.owner}: has no records.json (its status is FINISHED)")
    run = StoredRun.of(stored)
    assert run.records is not None
    return run, run.records


def reconfigured(
    stored: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], dict[str, DictConfig]]:
    """The run's config with the config groups (`grid=trace`) and values that the overrides choose.

    All of it is plain, and its interpolations are text. Also the groups chosen, as the reader's own config
    has them. Raises ConfigError for keys that accounting does not read, and for another fleet: its devices
    did not run.
    """
    import yaml
    from omegaconf import DictConfig, OmegaConf

    require(len(overrides) > 0, f"nothing to change; usage: {HELP.usage}")
    config = dict(stored)
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
                given = OmegaConf.from_dotlist([override.lstrip("+")])
                config = _merged(config, OmegaConf.to_container(given, resolve=False))
            except (yaml.YAMLError, ValueError) as error:
                raise ConfigError(f"{key}: cannot be read ({first_line(error)})") from error
    composed = cli.config(own)
    for family in chosen:
        group = composed[family]
        require(isinstance(group, DictConfig), f"{family}: must be a mapping (it is {group!r})")
        config[family] = OmegaConf.to_container(group, resolve=False)
    return config, {family: composed[family] for family in chosen}


def _merged(old: Any, new: Any) -> Any:
    """The new value, or where both are mappings, the old one with the new one's keys."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _is_read(key: str) -> bool:
    """Whether accounting reads a key; for devices and links, coefficients, ranges, sources and zone."""
    from pipeline.carbon.accounting import Accounting
    from pipeline.domain.fleet import Link

    parts = key.split(".")
    known = {*Accounting.COEFFICIENTS, *Link.COEFFICIENTS, "zone", "ranges", "sources"}
    return parts[0] != "fleet" or (len(parts) > 3 and parts[1] in ("devices", "links") and parts[3] in known)


def reaccount(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Compute the ledger again, log it as a child of the run, and print both."""
    from pipeline.carbon.grid import require_average
    from pipeline.carbon.intensity import Intensity
    from pipeline.domain.trial_result import TrialResult
    from pipeline.results.accountant import Accountant
    from pipeline.results.stored_figures import by_records
    from pipeline.results.tables.run_table import print_result
    from pipeline.results.terminal import terminal

    about_store = [each for each in overrides if each.lstrip("+").startswith("tracking.")]
    about_run = [each for each in overrides if each not in about_store]
    tracking = cli.tracking(about_store)
    tracking.reach()
    stored = tracking.stored(names[0])
    run, records = _recorded(stored)
    config, chosen = reconfigured(run.config, about_run)
    with stored.reading("config.yaml"):
        fleet, grid, accounting = (
            _built(config, group, chosen, about_run) for group in ("fleet", "grid", "accounting")
        )
    metrics = by_records(stored.owner, run.figures, records)
    require_average(grid)
    if any(each.lstrip("+").startswith("start_utc=") for each in about_run):
        records = replace(records, start_utc=utc("start_utc", config["start_utc"]))
    intensity = Intensity.of(fleet, grid, records.start_utc, records.window_s)
    with stored.reading("records.json"):
        account = Accountant(fleet, accounting, intensity).account(records)
    metrics |= account.metrics(int(run.figures["requests_ok"]))
    about = {
        **run.about,
        **records.about(),
        "grid": dict(grid.about()),
        "boundary": account.boundary(grid.about()),
    }
    run_id = _log(tracking, stored, about_run, config, about, records, account, metrics)
    before = TrialResult(stored.run_id, f"as it was: {stored.run_id}", _shown(run.figures), {})
    now = TrialResult(run_id, f"now: {run_id}", _shown(metrics), {}, None, about["boundary"])
    for each in (before, now):
        print_result(terminal(), each)
    terminal().print(tracking.ui_command())


def _built(
    config: Mapping[str, Any], group: str, chosen: Mapping[str, DictConfig], overrides: Sequence[str]
) -> Any:
    """The object of a config group: by Hydra where the command line chose it, else data of the run."""
    from hydra.utils import instantiate

    from pipeline.tracking.stored_config import rebuilt

    if group in chosen:
        return instantiate(chosen[group], _convert_="all")
    keys = (each.lstrip("+").partition("=")[0].partition(".") for each in overrides)
    own = {key for owner, _, key in keys if owner == group}
    return rebuilt(config, group, own)


def _log(
    tracking: Tracking,
    stored: Stored,
    overrides: Sequence[str],
    config: Mapping[str, Any],
    about: Mapping[str, Any],
    records: Records,
    account: Accounted,
    metrics: Mapping[str, float],
) -> str:
    """Log the account as a child of the run; return the child's id."""
    varied = dict(each.lstrip("+").split("=", 1) for each in overrides)
    tags = {key: stored.tags[key] for key in CARRIED if key in stored.tags}
    tags |= {"reaccounted_from": stored.run_id, "boundary": about["boundary"]}
    tags["grid"] = varied.get("grid", tags.get("grid", ""))
    name = f"{stored.name} · {' '.join(overrides)}"
    child = replace(tracking, parent_run_id=stored.run_id)
    with child.open_run(name, tags, {**stored.copied_params, **varied}) as run:
        run.log_metrics(metrics)
        run.log_table(account.ledger, "ledger.json")
        run.log_table(records.table, "records.json")
        run.log_text(json.dumps(about, indent=1), "run.json")
        run.log_text(dumped(config), "config.yaml")
    return run.run_id


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    """The headline figures."""
    keys = ("carbon_g_per_inf", "inferences_per_g", "energy_j_per_inf")
    return {key: metrics[key] for key in keys if key in metrics}


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(reaccount, HELP, num_names=1)
