"""The audit of a run or sweep, `carbonedge report RUN`: one HTML and one JSON file to hand on. Shell.

Where every gram comes from: boundary, method, coefficients with ranges and sources, grid data and their hash,
software, git commit, components, SCI.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console

from pipeline.carbon import coefficients
from pipeline.carbon.accounting import COMPONENTS, Accounting
from pipeline.commands.terminal import cli
from pipeline.domain.checks import ConfigError, require
from pipeline.domain.energy import J_PER_KWH
from pipeline.domain.fleet import Fleet
from pipeline.results.metric_table import METRICS, metric
from pipeline.results.units import number
from pipeline.tracking.stored import Stored
from pipeline.tracking.tracking import Tracking

HELP = cli.Help(
    "carbonedge report RUN [tracking.uri=...]",
    "Writes the audit of a run or a sweep: where every gram comes from.",
    "carbonedge report 1f0c",
)
METHODS = {
    "emulated": "emulated: stages ran on this host, their CPU time ÷ the device's speed; energy is "
    "modelled as power × that time, not metered on a device",
    "simulated": "simulated: stages take what the profile of this host saw, nothing was computed; energy is "
    "modelled as power × that time",
    "measured": "measured: stages ran on the devices themselves; energy is modelled as power × that time",
}
SOURCES = (
    "SCI: ISO/IEC 21031:2024, R = one inference",
    "GHG Protocol, scope 2 guidance: location-based, average factors",
    "Decomposition: LMDI-I (Ang 2005)",
)
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{border:1px solid #ccc;padding:.25rem .6rem;"
    "text-align:left}th{background:#f4f4f4}pre{background:#f4f4f4;padding:1rem;overflow:auto}"
)


def of_run(stored: Stored) -> dict[str, Any]:
    """All that is known of how a run's figures came about, as JSON can hold it."""
    config = stored.config("config.yaml")
    fleet: Fleet = instantiate(config.fleet, _convert_="all")
    accounting: Accounting = instantiate(config.accounting, _convert_="all")
    ledger = stored.table("ledger.json")
    about = stored.json("run.json")
    drawn = ledger[ledger["energy_j"] > 0]
    kwh = drawn["energy_j"] * drawn["pue"] / J_PER_KWH
    sums = pd.DataFrame({"device": drawn["device"].astype(str), "kwh": kwh, "g": drawn["carbon_g"]})
    sums = sums.groupby("device").sum()
    mean = {str(name): float(value) for name, value in (sums["g"] / sums["kwh"]).items()}
    return {
        "run": _identity(stored),
        "boundary": about.get("boundary", stored.tags.get("boundary", "")),
        "method": {
            "devices": METHODS.get(about["measurement"], about["measurement"]),
            "host": about.get("meter", stored.tags.get("host_meter", "none")),
            "sources": list(SOURCES),
        },
        "window": {key: about[key] for key in ("start_utc", "window_s", "reserved")},
        "grid": about.get("grid", {}),
        "metrics": dict(stored.metrics),
        "sci": _sci(stored, accounting),
        "components": _components(ledger, fleet, accounting).to_dict("records"),
        "devices": _by_device(ledger).to_dict("records"),
        "coefficients": coefficients.table(fleet, accounting, mean).to_dict("records"),
        "software": about.get("software", {}),
        "config": OmegaConf.to_container(config),
    }


def of_sweep(stored: Stored, trials: pd.DataFrame, example: Stored) -> dict[str, Any]:
    """What a sweep tried and what came of it; how its figures came about is told of one of its trials."""
    columns = list(map(str, trials))
    keep = [c for c in columns if c.startswith(("metrics.", "params.")) or c in ("run_id", "name", "status")]
    tagged = trials.get("tags.pareto", pd.Series("", index=trials.index))
    boundaries = trials.get("tags.boundary", pd.Series(dtype=str)).dropna().unique().tolist()
    compared = stored.table("summary.json").to_dict("records") if stored.has("summary.json") else []
    told = of_run(example)
    return {
        "run": _identity(stored),
        "boundary": boundaries[0] if len(boundaries) == 1 else boundaries,
        "method": told["method"],
        "metrics": dict(stored.metrics),
        "params": dict(stored.params),
        "compared": compared,
        "front": trials.loc[tagged == "true", "run_id"].tolist(),
        "trials": trials[keep].to_dict("records"),
        "one of its trials": {"run": example.run_id, "name": example.name},
        **{key: told[key] for key in ("grid", "coefficients", "software", "config")},
    }


def _identity(stored: Stored) -> dict[str, str]:
    about = {"id": stored.run_id, "name": stored.name, "status": stored.status}
    tags = ("model", "fleet", "partitioner", "scheduler", "backend", "measurement", "reaccounted_from")
    about |= {key: stored.tags[key] for key in tags if key in stored.tags}
    return about | {"git commit": stored.tags.get("mlflow.source.git.commit", "not known")}


def _sci(stored: Stored, accounting: Accounting) -> dict[str, Any]:
    """SCI per inference, or why it cannot be told."""
    if "sci_g_per_inf" in stored.metrics:
        return {"g_per_inference": stored.metrics["sci_g_per_inf"], "R": "one inference"}
    missing = [c for c in COMPONENTS if f"carbon_{c}_g" not in stored.metrics]
    why = [f"{' and '.join(missing)} not known"] if missing else []
    if accounting.idle != "full":
        why.append(f"idle power counted by the rule {accounting.idle!r}, and SCI counts reserved hardware")
    return {"not told, as": "; ".join(why) or "nothing was answered"}


def _components(ledger: pd.DataFrame, fleet: Fleet, accounting: Accounting) -> pd.DataFrame:
    rows = []
    ranged = coefficients.known(fleet, accounting)
    for name in (*COMPONENTS, "total"):
        own = ledger if name == "total" else ledger[ledger["component"] == name]
        if own.empty:
            continue
        low, high = None, None
        if ranged:
            low, high = coefficients.run_bounds(own, fleet, accounting)
        rows.append((name, float(own["energy_j"].sum()), low, float(own["carbon_g"].sum()), high))
    return pd.DataFrame(rows, columns=["component", "energy_j", "low_g", "carbon_g", "high_g"])


def _by_device(ledger: pd.DataFrame) -> pd.DataFrame:
    by = ledger.groupby([ledger["device"].astype(str), ledger["component"].astype(str)])
    return by[["energy_j", "carbon_g"]].sum().reset_index()


def page(audit: dict[str, Any]) -> str:
    """The audit as one HTML page without anything to fetch."""
    title = f"{audit['run']['name']} · audit"
    parts = [f"<h1>{html.escape(audit['run']['name'])}</h1>"]
    for key, value in audit.items():
        parts.append(f"<h2>{html.escape(key.capitalize())}</h2>")
        if key == "config":
            parts.append(f"<pre>{html.escape(OmegaConf.to_yaml(OmegaConf.create(value)))}</pre>")
        else:
            parts.append(_shown(key, value))
    head = f"<meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _shown(key: str, value: Any) -> str:
    if isinstance(value, dict):
        meaning = {name: _meaning(name) for name in value if key == "metrics"}
        return _table([[str(name), _cell(each), meaning.get(name, "")] for name, each in value.items()])
    if isinstance(value, list) and value and isinstance(value[0], dict):
        names = list(dict.fromkeys(name for row in value for name in row))
        return _table([[_cell(row.get(name)) for name in names] for row in value], names)
    return f"<p>{html.escape(_cell(value))}</p>"


def _meaning(name: str) -> str:
    """What a metric says, or an end of it."""
    ends = {"_low": "at the low ends of its coefficients", "_high": "at the high ends of its coefficients",
            "_lo": "low end of the 95% interval", "_hi": "high end of the 95% interval"}  # fmt: skip
    end = next((each for each in ends if name.endswith(each) and name not in METRICS), "")
    return f"{metric(name).meaning}{f': {ends[end]}' if end else ''}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return "; ".join(map(_cell, value)) or "none"
    return "" if value is None else str(value)


def _table(rows: Sequence[Sequence[str]], names: Sequence[str] = ()) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def _plain(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def report(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Write both files into the working directory; the store is only read."""
    tracking: Tracking = instantiate(cli.config(overrides).tracking)
    tracking.reach()
    stored = tracking.stored(names[0])
    if "sweep" in stored.tags:
        trials = tracking.children(stored.run_id)
        done = trials[trials["status"] == "FINISHED"]
        require(len(done) > 0, f"run {stored.run_id} ({stored.name}): no trial of it is FINISHED")
        audit = of_sweep(stored, trials, tracking.stored(str(done["run_id"].iloc[0])))
    else:
        require(
            "boundary" in stored.tags,
            f"run {stored.run_id} ({stored.name}): is neither a run nor a sweep that this version made",
        )
        audit = of_run(stored)
    paths = [Path(f"audit-{stored.run_id}.{kind}") for kind in ("html", "json")]
    for path, content in zip(
        paths, (page(audit), json.dumps(_plain(audit), indent=1, allow_nan=False) + "\n"), strict=True
    ):
        partial = path.with_suffix(f"{path.suffix}.partial")
        try:
            partial.write_text(content, encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ConfigError(f"{path.absolute()}: cannot be written ({error.strerror})") from error
    Console(highlight=False, soft_wrap=True).print(f"wrote {' and '.join(map(str, paths))}", markup=False)


def main() -> None:
    """Run the command on the arguments of this process."""
    cli.run(report, HELP, num_names=1)
