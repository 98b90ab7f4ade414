"""HTML pages from the templates of pipeline/results, all values escaped. Pure."""

from __future__ import annotations

from pathlib import Path

import jinja2

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).resolve().parents[1]),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def rendered(template: str, **values: object) -> str:
    """A self-contained page; template: a path below pipeline/results, such as `audit/audit.html`.

    Values are escaped, except those that are `markupsafe.Markup`.
    """
    return _TEMPLATES.get_template(template).render(values)
