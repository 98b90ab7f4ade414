"""Half-hours, measured or forecast."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.carbon.grids.live.uk import UK
from pipeline.domain.checks import ConfigError
from tests.carbon.grids.live.conftest import HOUR, NOW, Answer, Service


def test_britain_by_the_half_hour(service: Service, tmp_path: Path) -> None:
    def halves(query: dict[str, str]) -> Answer:
        first = NOW.replace(minute=0) - HOUR
        times = [first + k * HOUR / 2 for k in range(6)]
        rows = [
            {
                "from": f"{at:%Y-%m-%dT%H:%MZ}",
                "to": f"{at + HOUR / 2:%Y-%m-%dT%H:%MZ}",
                "intensity": {"forecast": 180 + k, "actual": 190 + k if k < 3 else None, "index": "moderate"},
            }
            for k, at in enumerate(times)
        ]
        return 200, {"data": rows}

    service.answers = {"/intensity/": halves}
    grid = UK(service.url, cache_dir=str(tmp_path))
    steps = grid.steps("GB", NOW - HOUR / 2, NOW + HOUR / 2)
    assert [value for _, value in steps] == [192, 183, 184]
    assert steps[0][0] == NOW.replace(minute=0)
    with pytest.raises(ConfigError, match="the UK's service covers GB only .'DE'"):
        grid.steps("DE", NOW, NOW)
