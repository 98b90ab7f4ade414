"""Texts without the passwords in them. Pure."""

from __future__ import annotations

import re

_IN_URL = re.compile(r"://[^/\s\"']*@")
_IN_QUERY = re.compile(
    r"([?&](?:password|passwd|pwd|token|secret|api_?key|sslpassword)=)[^&\s\"']+", re.IGNORECASE
)


def masked(text: str) -> str:
    """A text in which the user and password of each URL, and secrets in its query, are `***`."""
    return _IN_QUERY.sub(r"\1***", _IN_URL.sub("://***@", text))
