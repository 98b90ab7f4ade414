"""Texts without the passwords in them. Pure."""

from __future__ import annotations

import re

_IN_URL = re.compile(r"://[^/\s\"']*@")
# SQLAlchemy takes all up to the last @ for the password, slashes too.
_IN_DATABASE = re.compile(r"\b((?:postgresql|postgres|mysql|mariadb|mssql|oracle)[+\w]*://)[^\s\"']*@")
_IN_QUERY = re.compile(r"([?&][^=&\s\"']*(?:pass|pwd|token|secret|key)[^=&\s\"']*=)[^&\s\"']+", re.IGNORECASE)


def masked(text: str) -> str:
    """A text in which the user and password of each URL, and secrets in its query, are `***`."""
    without_users = _IN_URL.sub("://***@", _IN_DATABASE.sub(r"\1***@", text))
    return _IN_QUERY.sub(r"\1***", without_users)
