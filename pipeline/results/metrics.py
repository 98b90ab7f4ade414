"""Metrics of a ledger and of a model's answers, and the name of a run. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.carbon import coefficients
from pipeline.carbon.accounting import COMPONENTS, Accounting
from pipeline.domain.checks import require
from pipeline.domain.fleet import Fleet
from pipeline.results.metric_keys import RANGE_ENDS, range_keys

if TYPE_CHECKING:
    import pandas as pd
    import torch


def summed(ledger: pd.DataFrame) -> pd.DataFrame:
    """One row for each stage, device, component and link of a ledger (columns: LEDGER_COLUMNS), sorted.

    Columns: `stage`, `device`, `component`, `link`; `energy_j` and `carbon_g`, summed; `pue`.
    """
    names = {name: ledger[name].astype(str) for name in ("device", "component", "link")}
    by = ledger.assign(**names).groupby(["stage", "device", "component", "link"])
    return by.agg({"energy_j": "sum", "carbon_g": "sum", "pue": "first"}).reset_index()


def carbon_metrics(
    ledger: pd.DataFrame, left_out: Collection[str], num_ok: int, fleet: Fleet, accounting: Accounting
) -> dict[str, float]:
    """The metrics of energy and carbon that follow from a ledger.

    ledger: columns as `summed` returns them. left_out: components of carbon that cannot be computed. num_ok:
    requests answered; without any there are no metrics per inference.
    """
    known = [component for component in COMPONENTS if component not in left_out]
    spent = ledger.groupby("component", observed=True)[["energy_j", "carbon_g"]].sum()
    spent = spent.reindex(known, fill_value=0.0)
    total_g = float(spent["carbon_g"].sum())
    metrics = {f"carbon_{component}_g": float(spent["carbon_g"][component]) for component in known}
    metrics["carbon_total_g"] = total_g
    if coefficients.known(fleet, accounting):
        low, high = coefficients.run_bounds(ledger, fleet, accounting)
        metrics |= zip(range_keys("carbon_total_g"), (low, high), strict=True)
    if not num_ok:
        return metrics
    for end in ("", *RANGE_ENDS):
        if f"carbon_total_g{end}" in metrics:
            metrics[f"carbon_g_per_inf{end}"] = metrics[f"carbon_total_g{end}"] / num_ok
    metrics["energy_j_per_inf"] = float(spent["energy_j"].sum()) / num_ok
    if "network" in known:
        metrics["network_j_per_inf"] = float(spent["energy_j"]["network"]) / num_ok
    if accounting.is_sci and len(known) == len(COMPONENTS):
        metrics["sci_g_per_inf"] = total_g / num_ok
    if total_g > 0:
        metrics["inferences_per_g"] = num_ok / total_g
    return metrics


def require_answers(metrics: Mapping[str, float], horizon_s: float, reasons: Collection[str]) -> None:
    """Raise ConfigError, with the reason, for a run that answered no request.

    metrics: those of the run. horizon_s: seconds within which its requests arrive. reasons: why some failed.
    """
    came = sum(metrics[f"requests_{how}"] for how in ("ok", "failed", "rejected"))
    require(
        came > 0,
        f"workload: no request arrived within {horizon_s:g} s; raise workload.duration_s, or the rate: "
        "workload.rate_rps or workload.utilisation",
    )
    require(metrics["requests_ok"] > 0, f"every request was refused: {min(reasons, default='')}")


def top1_agreement(outputs: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Share of answers whose most likely class is the unsplit model's; one with NaN or infinity has none.

    outputs, expected: scores of the classes, one tensor (1, classes) a request, in the same order.
    """
    same = [
        bool(a.isfinite().all() and b.isfinite().all() and a.argmax() == b.argmax())
        for a, b in zip(outputs, expected, strict=True)
    ]
    return sum(same) / len(same)


def output_max_abs_error(outputs: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The largest |value - the unsplit model's| over all answers; arguments as `top1_agreement`.

    NaN where it is unknown, because a value is NaN or both are infinite.
    """
    return float(np.max([float((a - b).abs().max()) for a, b in zip(outputs, expected, strict=True)]))


def run_name(labels: Mapping[str, str], varied: Mapping[str, str]) -> str:
    """A run's name, such as `cut 41 · node-medium → node-green · green`.

    What varies in its sweep stands first: lists of runs show some twenty characters of a name. labels: as
    `Summary.labels` returns them; varied: values of the keys that vary, for which the plan's cuts and
    devices stand where they are a partitioner's.
    """
    scheduler = labels["scheduler"]
    cuts = [] if labels["cuts"] == "none" else [f"cut {labels['cuts']}"]
    plan = [*cuts, labels["devices"]]
    own = {"partitioner", "scheduler", "plan"}
    other = [_setting(key, value) for key, value in varied.items() if key.partition(".")[0] not in own]
    tuned = [_setting(key, value) for key, value in varied.items() if key.startswith("scheduler.")]
    tuned = [] if scheduler == "pinned" else tuned
    moves = any(key.partition(".")[0] in ("partitioner", "plan") for key in varied)
    chosen = [scheduler] if "scheduler" in varied else []
    return " · ".join(
        dict.fromkeys([*chosen, *other, *([*plan, *tuned] if moves else [*tuned, *plan]), scheduler])
    )


def _setting(key: str, value: str) -> str:
    """A setting in a name: a word, or the last part of its key with a number."""
    try:
        return f"{key.rpartition('.')[2]} {float(value):.3g}"
    except ValueError:
        return f"{key.rpartition('.')[2]} {value}" if value in ("true", "false", "null") else value
