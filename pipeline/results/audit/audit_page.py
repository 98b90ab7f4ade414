"""An audit as one HTML page or as JSON. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.domain.plain_yaml import dumped
from pipeline.results.metric_keys import base_key, interval_keys, is_metric, metric, range_keys
from pipeline.results.pages.rendering import rendered
from pipeline.results.units import number


class _Section(NamedTuple):
    """A heading, and below it a paragraph, a listing or a table."""

    title: str
    paragraph: str | None = None
    listing: str | None = None
    rows: Sequence[Sequence[str]] = ()
    header: Sequence[str] = ()


def audit_page(audit: Mapping[str, Any]) -> str:
    """The audit (`run_audit`, `sweep_audit`) as one self-contained HTML page."""
    sections = [_section(key, value) for key, value in audit.items()]
    return rendered("audit/audit.html", name=audit["run"]["name"], sections=sections)


def audit_json(audit: Mapping[str, Any]) -> str:
    """The audit as JSON; numbers that are not finite become null."""
    return json.dumps(_plain(audit), indent=1, allow_nan=False) + "\n"


def _section(key: str, value: Any) -> _Section:
    title = key.capitalize()
    if key == "config":
        return _Section(title, listing=dumped(value))
    if isinstance(value, Mapping):
        meaning = {name: _meaning(name) for name in value if key == "metrics"}
        rows = [[str(name), _cell(each), meaning.get(name, "")] for name, each in value.items()]
        return _Section(title, rows=rows)
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        names = list(dict.fromkeys(name for row in value for name in row))
        return _Section(title, rows=[[_cell(row.get(name)) for name in names] for row in value], header=names)
    return _Section(title, paragraph=_cell(value))


def _meaning(name: str) -> str:
    """The meaning of a metric, or of an end of its range or interval."""
    if not is_metric(name):
        return "a metric of another version"
    key = base_key(name)
    (low, high), (least, most) = interval_keys(key), range_keys(key)
    end = {
        low: ": low end of the 95% interval", high: ": high end of the 95% interval",
        least: ": at the low ends of its coefficients", most: ": at the high ends of its coefficients",
    }  # fmt: skip
    return metric(name).meaning + end.get(name, "")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return "; ".join(map(_cell, value)) or "none"
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
