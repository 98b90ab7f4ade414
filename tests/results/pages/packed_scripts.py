"""The scripts that a page of figures holds, unpacked."""

from __future__ import annotations

import base64
import gzip
import re


def packed_scripts(page: str) -> list[str]:
    """Plotly's own script, then the calls that draw the page's figures."""
    found = re.findall(r'<script type="application/gzip">([^<]*)</script>', page)
    return [gzip.decompress(base64.b64decode(each, validate=True)).decode() for each in found]
