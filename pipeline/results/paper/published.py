"""Published figures: rows of a CSV file, with the energy that they imply. Shell: it reads the file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.domain.checks import ConfigError, first_line, one_line, require, require_number
from pipeline.domain.energy import J_PER_KWH
from pipeline.host.data_file import MOST_TEXT_BYTES, content
from pipeline.results.metric_values import require_metrics
from pipeline.results.paper.configurations import MODELS, NAMES

Metrics = Mapping[str, float]
PUBLISHED = Path(__file__).resolve().parents[3] / "conf" / "published" / "carbonedge.csv"
"""CarbonEdge (arXiv 2603.27420), Tables II and IV."""
STATED = ("carbon_g_per_inf", "energy_j_per_inf", "latency_ms_mean", "inferences_per_g")
"""Metrics of a published figure; unknown ones are NaN."""
NEEDED = ("carbon_g_per_inf", "intensity_g_per_kwh")
"""Columns that a published figure must have; they imply its energy: E = C / I."""
LEAST = {"carbon_g_per_inf": 1e-15, "intensity_g_per_kwh": 1e-3}
"""The least that can be meant: a picojoule of solar power, and a thousandth of what wind emits."""
MOST_COLUMNS = 100
"""Columns that are read: each of a million takes time."""
MOST_NAMES = 10
"""Names of a file that an error lists."""


def published(path: Path, name: str) -> dict[str, Any]:
    """A row of a file of published figures, with the energy that it implies (`energy_j_per_inf`).

    The file has columns name, carbon_g_per_inf, intensity_g_per_kwh, and may have latency_ms_mean and
    inferences_per_g (NaN in the row where unknown); at most MOST_TEXT_BYTES are read. Raises ConfigError
    naming file, row and column.
    """
    require(path.is_file(), f"{path}:{name}: no such file")
    try:
        table = _table(path)
    except Exception as error:  # each packed format has its own for a broken file
        raise ConfigError(f"{path}: not a CSV file ({first_line(error)})") from error
    missing = [column for column in ("name", *NEEDED) if column not in table]
    require(not missing, f"{path}: has no column {', '.join(missing)}")
    rows = table[table["name"] == name]
    require(len(rows) == 1, f"{path}: has {len(rows)} rows named {name!r} (it has {_listed(table['name'])})")
    row = {str(key): value for key, value in rows.to_dict("records")[0].items()}
    for column in NEEDED:
        value = pd.to_numeric(row[column], errors="coerce")
        good = math.isfinite(value) and value >= LEAST[column]
        least = "> 0" if value <= 0 or not math.isfinite(value) else f">= {LEAST[column]:g}"
        require(good, f"{path}, {name}: {column} must be a number {least} ({row[column]!s:.60})")
        row[column] = float(value)
    for column in ("latency_ms_mean", "inferences_per_g"):
        row[column] = float(pd.to_numeric(row.get(column, math.nan), errors="coerce"))
    owner, g_per_kwh = f"{path}, {name}", row["intensity_g_per_kwh"]
    require_number(owner, "intensity_g_per_kwh", g_per_kwh, least=0)
    row["energy_j_per_inf"] = row["carbon_g_per_inf"] / g_per_kwh * J_PER_KWH
    stated = {key: row[key] for key in STATED if not math.isnan(row[key])}
    require_metrics(owner, stated)
    return row


def _table(path: Path) -> pd.DataFrame:
    """The rows of a file.

    Raises ConfigError for one that is too large or too wide; for a broken one, what its format raises.
    """
    data = content(path, MOST_TEXT_BYTES)
    with io.TextIOWrapper(data, encoding="utf-8-sig", newline="") as text:
        width = max(map(len, csv.reader(text)), default=0)
        require(width <= MOST_COLUMNS, f"it has {width:,} columns, and at most {MOST_COLUMNS} are read")
        text.seek(0)
        return pd.read_csv(text, dtype={"name": str})


def _listed(names: pd.Series) -> str:
    """The first names, each in one short line, and the number of others."""
    shown = ", ".join(f"{one_line(each):.60}" for each in names.head(MOST_NAMES))
    others = len(names) - MOST_NAMES
    return f"{shown} and {others:,} others" if others > 0 else shown


def published_metrics(reference: str) -> dict[str, Any]:
    """The metrics of a published row, `FILE:NAME`, where FILE is in conf/published or an absolute path.

    Publications state a mean latency; it is used for `latency_ms_p50` too. Raises ConfigError naming file,
    row and column.
    """
    file, _, name = reference.rpartition(":")
    row = published(PUBLISHED.parent / file, name)
    return row | {"latency_ms_p50": row["latency_ms_mean"]}


def published_configurations(model: str) -> dict[str, Mapping[Any, Any]]:
    """Rows of PUBLISHED of a model, by configuration (a key of NAMES)."""
    prefix = f"{MODELS.get(model)} "
    keys = {name.lower(): key for key, name in NAMES.items()}
    return {
        keys[str(row["name"]).removeprefix(prefix).lower()]: row
        for row in pd.read_csv(PUBLISHED).to_dict("records")
        if str(row["name"]).startswith(prefix)
    }
