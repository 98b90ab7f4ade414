"""HTTP requests to a service: retries, keys from the environment, one-line errors. Shell."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pipeline.domain.checks import ConfigError, require

BUSY = (429, 500, 502, 503, 504)
"""Status codes after which a request is repeated."""
MAX_PAUSE_S = 60
"""The longest pause that a service can ask for (Retry-After)."""


@dataclass
class HttpClient:
    """A session with one service, open within a `with` block."""

    name: str
    url: str
    key_variables: tuple[str, ...]
    """The environment variables that hold the service's keys."""
    timeout_s: float
    retries: int

    def __enter__(self) -> Self:
        retry = Retry(
            total=self.retries, backoff_factor=0.2, status_forcelist=BUSY, raise_on_status=False,
            respect_retry_after_header=True, retry_after_max=MAX_PAUSE_S,
        )  # fmt: skip
        # urllib3 would log each retry; `get` reports the failure once.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def get(self, path: str, params: Mapping[str, str], **options: Any) -> Any:
        """The JSON of an answer. Raises ConfigError for no answer, an error status, and invalid JSON."""
        url = f"{self.url.rstrip('/')}/{path}"
        where = f"grid: {self.name} ({url})"
        try:
            answer = self._session.get(
                url,
                params=params,
                timeout=self.timeout_s,
                allow_redirects=False,  # another host must not see the key
                **options,
            )
        except UnicodeError as error:
            raise ConfigError(f"{where}: the key has invalid characters; {self._key_hint()}") from error
        except requests.RequestException as error:
            late = "timed out" in str(error).lower()
            reason = "no answer in time" if late else "cannot be reached"
            raise ConfigError(f"{where}: {reason}; grid.offline=true uses stored answers") from error
        if answer.status_code != 200:
            raise ConfigError(f"{where}: {self._refusal(answer)}")
        try:
            return answer.json()
        except ValueError as error:
            raise ConfigError(f"{where}: the answer is not JSON") from error

    def keys(self) -> tuple[str, ...]:
        """The values of `key_variables`. Raises ConfigError for one that is not set."""
        values = tuple(os.environ.get(name, "") for name in self.key_variables)
        missing = [name for name, value in zip(self.key_variables, values, strict=True) if not value]
        require(not missing, f"grid: {self.name} needs a key; set {' and '.join(missing)} in the environment")
        return values

    def _key_hint(self) -> str:
        return f"check {' and '.join(self.key_variables)}" if self.key_variables else "it needs none"

    def _refusal(self, answer: requests.Response) -> str:
        reason = self._reason(answer)
        if answer.status_code in (401, 403):
            return f"refused the key ({reason}); {self._key_hint()}"
        if answer.status_code == 429:
            return f"too many requests, even after waiting; try later ({reason})"
        return f"answered {answer.status_code} ({reason})"

    def _reason(self, answer: requests.Response) -> str:
        """The service's reason for an error status, with any key that it repeats masked."""
        try:
            body = answer.json()
        except ValueError:
            return answer.reason or "no reason given"
        found = body.get("message") or body.get("error") if isinstance(body, dict) else None
        text = str(found.get("message", found) if isinstance(found, dict) else found or answer.reason)
        for key in filter(None, map(os.environ.get, self.key_variables)):
            text = text.replace(key, "***")
        return " ".join(text.split())[:200]
