"""An audit as a page: all of it is there, and escaped; an audit as JSON."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from pipeline.results.audit.audit_page import audit_json, audit_page

ODD = "<script>alert(1)</script> & 'more'"
AUDIT: dict[str, Any] = {
    "run": {"id": "1f0c", "name": ODD},
    "boundary": ["one", ODD],
    "metrics": {"latency_ms_mean": 12.34567, "carbon_g_per_inf_high": math.inf, "stages": 2},
    "components": [{"component": "idle", "low_g": None}, {"component": ODD, "carbon_g": 0.5}],
    "front": [],
    "grid": {},
    "config": {"model": {"name": ODD}},
}


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("</style>")[2]))


def test_a_page_shows_every_section() -> None:
    shown = text(audit_page(AUDIT))
    for section in ("Run", "Boundary", "Metrics", "Components", "Front", "Grid", "Config"):
        assert f" {section} " in shown
    assert "latency_ms_mean 12.35 Mean time from a request's arrival".replace("'", "&#39;") in shown
    assert "carbon_g_per_inf_high n/a The run&#39;s gCO2e ÷ requests answered: at the high ends" in shown
    assert "component low_g carbon_g idle" in shown
    assert "Front none Grid Config" in shown


def test_every_value_of_a_page_is_escaped() -> None:
    shown = audit_page(AUDIT)
    assert "<script>" not in shown
    assert shown.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; ") == 6
    assert "<title>&lt;script&gt;" in shown


def test_json_has_null_where_a_number_is_not_finite() -> None:
    audit = json.loads(audit_json(AUDIT | {"trials": [{"x": math.nan, 1: (1, 2)}]}))
    assert audit["metrics"]["carbon_g_per_inf_high"] is None
    assert audit["trials"] == [{"x": None, "1": [1, 2]}]
    assert audit["run"] == AUDIT["run"]
