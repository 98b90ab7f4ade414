"""Texts without the passwords in them. Pure."""

from __future__ import annotations

import re

from pipeline.domain.checks import require

_IN_URL = re.compile(r"://[^/\s\"']*@")
# SQLAlchemy takes all up to the last @ for the password, slashes too.
_IN_DATABASE = re.compile(r"\b((?:postgresql|postgres|mysql|mariadb|mssql|oracle)[+\w]*://)[^\s\"']*@")
_IN_QUERY = re.compile(r"([?&][^=&\s\"']*(?:pass|pwd|token|secret|key)[^=&\s\"']*=)[^&\s\"']+", re.IGNORECASE)

_UNMASKED = re.compile(
    r"://[^/@]*[\s\"'][^/]*@|\b(postgresql|postgres|mysql|mariadb|mssql|oracle)[+\w]*://[^@]*[\s\"'].*@"
)


def require_maskable(key: str, address: str) -> None:
    """Raise ConfigError, naming the key, for an address whose user or password `masked` would not find."""
    good = _UNMASKED.search(address) is None
    require(good, f"{key}: a space or quote in its user or password must be written as %20, %22 or %27")


def masked(text: str) -> str:
    """A text in which the user and password of each URL, and secrets in its query, are `***`."""
    without_users = _IN_URL.sub("://***@", _IN_DATABASE.sub(r"\1***@", text))
    return _IN_QUERY.sub(r"\1***", without_users)
