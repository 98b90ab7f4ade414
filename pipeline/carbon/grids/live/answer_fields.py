"""Fields of a service's JSON answer, checked. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.carbon.grid import MAX_G_PER_KWH
from pipeline.domain.checks import ConfigError, is_finite_number, require


def answered_rows(service: str, body: Any, key: str) -> list[Any]:
    """The list under a key of an answer. Raises ConfigError naming the service if there is none."""
    rows = body.get(key) if isinstance(body, dict) else None
    message = body.get("message", "") if isinstance(body, dict) else ""
    if not isinstance(rows, list):
        raise ConfigError(f"grid: {service} answered without {key!r} ({message or 'unknown shape'})")
    return rows


def answered_time(service: str, row: Any, key: str) -> datetime:
    """The time under a key of a row, in UTC. Raises ConfigError for one that is missing or has no offset."""
    try:
        at = datetime.fromisoformat(row[key])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"grid: {service} answered a row without a time {key!r} ({row!r})") from error
    require(at.tzinfo is not None, f"grid: {service} answered a time without offset ({row[key]!r})")
    return at.astimezone(UTC)


def answered_intensity(service: str, row: Mapping[str, Any], key: str, g_per_kwh: float = 1.0) -> float:
    """The value under a key of a row, converted to g/kWh; `g_per_kwh` is one unit of the service in g/kWh.

    Raises ConfigError for a value that no grid can have.
    """
    value = row.get(key)
    found = float(value) * g_per_kwh if value is not None and is_finite_number(value) else math.nan
    require(
        0 <= found <= MAX_G_PER_KWH,
        f"grid: {service} answered {key}={value!r}, which is not an intensity in g/kWh ({dict(row)})",
    )
    return found


def iso_text(at: datetime) -> str:
    """A time as in 2030-01-15T09:48:00Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
