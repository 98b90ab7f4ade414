"""Texts without the passwords in them. Pure."""

from __future__ import annotations

import re

from pipeline.domain.checks import require

_IN_URL = re.compile(r"((?<=://)|(?<![:/\w])//)[^/\s\"']*@")
# SQLAlchemy takes all up to the last @ for the password, slashes too. So may a person in an address of the
# web: what follows the user is then no port.
_PLAIN = r"https?|file|sqlite|mlflow-artifacts|s3|gs|r2|wasbs?|abfss?|hdfs|viewfs|dbfs|s?ftp|runs|models"
_DATABASE = rf"\b(?!(?:{_PLAIN})\b)[a-z][\w+.-]*://"
_TO_LAST_AT = re.compile(
    rf"({_DATABASE})[^\n]*@|(https?:/*)(?=[^/\s\"'@:]*:(?!\d+/)|[^/\s\"']*@)[^\s\"']*@", re.IGNORECASE
)
_KNOWN = r"(?:https?|postgres\w*|mysql|mariadb|mssql|oracle|cockroachdb)(?:\+\w+)?"
# An address with a slash or colon too few or too many is still shown in the error about it.
_UNKNOWN = rf"(?!(?:{_PLAIN})\b)[a-z][\w+.-]*:/+"
_MISTYPED = re.compile(rf"\b({_KNOWN}(?::/*|//)|{_UNKNOWN})[^/\s\"']*@", re.IGNORECASE)
_NAMES = r"pass|pwd|\bpw\b|token|secret|key|sig|auth|cred|jwt|\bsas\b|odbc_connect"
_IN_QUERY = re.compile(rf"([?&;#][^=&;\s\"']*(?:{_NAMES})[^=&;\s\"']*=)[^&;\s\"']+", re.IGNORECASE)
_ODD_QUERY = re.compile(rf"[?&;][^=&;]*(?:{_NAMES})[^=&;]*=[^&;]*[\s\"']", re.IGNORECASE)
_SCHEME = re.compile(rf"({_DATABASE}|{_KNOWN}(?::/*|//))(.*)@", re.IGNORECASE | re.DOTALL)


def require_maskable(key: str, address: str) -> None:
    """Raise ConfigError, naming the key, for an address whose user or password `masked` would not find."""
    found = _SCHEME.match(address)
    users = "" if found is None else found[2]
    of_web = found is not None and found[1].lower().startswith("http")
    odd = re.search(r"[\s\"'/]" if of_web else r"[\s\"']", users)
    good = odd is None and _ODD_QUERY.search(address) is None
    message = "a space, quote or slash in its user or password must be written as %20, %22, %27 or %2F"
    require(good, f"{key}: {message}, and an @ in the path of a web address as %40")


def masked(text: str) -> str:
    """A text in which the user and password of each URL, and secrets in its query, are `***`."""
    text = _TO_LAST_AT.sub(lambda found: f"{found[1] or found[2]}***@", text)
    for users in (_IN_URL, _MISTYPED):
        text = users.sub(r"\1***@", text)
    return _IN_QUERY.sub(r"\1***", text)
