"""The settings that backends share are checked once for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.execution.backends.emulated import Emulated
from pipeline.execution.backends.simulated import Simulated


@pytest.mark.parametrize("backend", [Simulated, Emulated])
@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("cpu_per_task", -0.1, "backend: cpu_per_task must be a number >= 0 .cpu_per_task: -0.1."),
        ("max_requests", 0, "backend.max_requests: must be a whole number >= 1 .it is 0."),
        ("max_wait_s", None, "backend: max_wait_s must be a number >= 0 .max_wait_s: None."),
    ],
)
def test_a_bad_value_is_refused(backend: Callable[..., Any], key: str, value: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        backend(**{key: value})
