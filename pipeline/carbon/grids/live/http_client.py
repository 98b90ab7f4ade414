"""HTTP requests to a service: retries, limits, keys from the environment, one-line errors. Shell."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from pipeline.domain.checks import ConfigError, one_line, require, size_text
from pipeline.domain.credentials import masked
from pipeline.host.time_limit import within

BUSY = (429, 500, 502, 503, 504)
"""Status codes after which a request is repeated."""
MAX_PAUSE_S = 60
"""The longest pause that a service can ask for (Retry-After)."""
MOST_BYTES = 10_000_000
"""Limit of an answer, unpacked: a month by five minutes takes half a megabyte."""
PART_BYTES = 65_536
MOST_QUOTED = 200
"""Characters that an error quotes of an answer."""
MOST_TOLD = 500
"""Characters of a whole error, which begins with the address."""
IGNORED = r"(?:\\(?:[tnrvf]|u[0-9a-f]{4}|x[0-9a-f]{2})?|[\s\u200b-\u200f\u2060\ufeff])*"
"""What an answer may put between the characters of a secret that it repeats."""
LEAST_SECRET = 4
"""Characters of a text that is masked: a shorter one keeps no secret, and would hide half of each message."""


@dataclass
class HttpClient:
    """A session with one service, open within a `with` block."""

    name: str
    url: str
    key_variables: tuple[str, ...]
    """The environment variables that hold the service's keys."""
    timeout_s: float
    """Longest wait for the beginning of an answer, and then for all of it."""
    retries: int
    _secrets: set[str] = field(default_factory=set, repr=False)
    """Keys and tokens that were sent, in each form in which an answer may repeat them."""

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
        self._secrets |= _sent(options)
        try:
            # A connection's own limit counts from byte to byte, and its headers may have no end.
            answer, body = within(self._longest_s(), partial(self._answer, url, params, options, where))
        except UnicodeError as error:
            raise ConfigError(f"{where}: the key has invalid characters; {self._key_hint()}") from error
        except (requests.RequestException, HTTPError, TimeoutError) as error:
            late = isinstance(error, TimeoutError) or "timed out" in str(error).lower()
            reason = "no answer in time" if late else "cannot be reached"
            raise ConfigError(f"{where}: {reason}; grid.offline=true uses stored answers") from error
        if answer.status_code != 200:
            raise ConfigError(f"{where}: {self._refusal(answer, body)}")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where}: the answer is not JSON") from error

    def _longest_s(self) -> float:
        """Longest time for a request with its repetitions and the pauses for which the service may ask."""
        return (self.retries + 1) * 2 * self.timeout_s + self.retries * MAX_PAUSE_S

    def _answer(
        self, url: str, params: Mapping[str, str], options: Mapping[str, Any], where: str
    ) -> tuple[requests.Response, bytes]:
        """An answer with its body. Errors as of `requests` and `_body`."""
        with self._session.get(
            url,
            params=params,
            timeout=self.timeout_s,
            allow_redirects=False,  # another host must not see the key
            stream=True,
            **options,
        ) as answer:
            return answer, self._body(answer, where)

    def _body(self, answer: requests.Response, where: str) -> bytes:
        """The whole body. Raises ConfigError where it is too long, TimeoutError where it takes too long."""
        body, end = bytearray(), time.monotonic() + self.timeout_s
        while part := answer.raw.read1(PART_BYTES, decode_content=True):
            body += part
            require(len(body) <= MOST_BYTES, f"{where}: the answer is longer than {size_text(MOST_BYTES)}")
            if time.monotonic() > end:
                raise TimeoutError("the answer timed out")
        return bytes(body)

    def without_keys(self, error: Exception) -> str:
        """An error's message in one line, where `***` stands for each key or token that was sent."""
        return one_line(self._masked(str(error)))[:MOST_TOLD]

    def _masked(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = _however_written(secret).sub("***", text)
        return masked(text)

    def keys(self) -> tuple[str, ...]:
        """The values of `key_variables`. Raises ConfigError for one that is not set."""
        values = tuple(os.environ.get(name, "") for name in self.key_variables)
        missing = [name for name, value in zip(self.key_variables, values, strict=True) if not value]
        require(not missing, f"grid: {self.name} needs a key; set {' and '.join(missing)} in the environment")
        return values

    def _key_hint(self) -> str:
        return f"check {' and '.join(self.key_variables)}" if self.key_variables else "it needs none"

    def _refusal(self, answer: requests.Response, body: bytes) -> str:
        reason = self._reason(answer, body)
        if answer.status_code in (401, 403):
            return f"refused the key ({reason}); {self._key_hint()}"
        if answer.status_code == 429:
            return f"too many requests, even after waiting; try later ({reason})"
        return f"answered {answer.status_code} ({reason})"

    def _reason(self, answer: requests.Response, body: bytes) -> str:
        """The service's reason for an error status, with any key that it repeats masked."""
        try:
            stated = json.loads(body)
        except (ValueError, RecursionError):
            return answer.reason or "no reason given"
        found = stated.get("message") or stated.get("error") if isinstance(stated, dict) else None
        text = str(found.get("message", found) if isinstance(found, dict) else found or answer.reason)
        return " ".join(self._masked(text).split())[:MOST_QUOTED]


def _sent(options: Mapping[str, Any]) -> set[str]:
    """The secrets among the options of a request: as they are, and encoded. Pure."""
    account = [*options.get("auth", ())]
    tokens = [value.split()[-1] for value in options.get("headers", {}).values() if value.strip()]
    basic = base64.b64encode(":".join(account).encode("latin1", "replace")).decode()
    return {text for text in (*account, *tokens, basic) if len("".join(text.split())) >= LEAST_SECRET}


def _however_written(secret: str) -> re.Pattern[str]:
    """A secret with any white space, backslashes of quoting and invisible characters within it. Pure."""
    return re.compile(IGNORED.join(re.escape(char) for char in secret if not re.fullmatch(IGNORED, char)))
