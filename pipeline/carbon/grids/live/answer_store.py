"""Answers of a service, stored with the time of each request, to repeat a run offline. Shell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from pipeline.carbon.grid import MAX_G_PER_KWH
from pipeline.domain.checks import ConfigError, require
from pipeline.host.data_file import MOST_TEXT_BYTES, content, text_of
from pipeline.host.files import write_atomically


class IntensityPoint(NamedTuple):
    """A value, the time from which it holds, and its kind."""

    since: datetime
    g_per_kwh: float
    how: str
    """measured, estimated, or foreseen (a forecast)."""


class Answer(NamedTuple):
    """The content of one file: the time of the request, the kind of emission factors, the values."""

    issued: datetime
    factor: str
    points: list[IntensityPoint]


@dataclass(frozen=True)
class AnswerStore:
    """The answers of one service: a folder for each zone, with a file for each answer, named by its time."""

    folder: Path

    def keep(self, zone: str, answer: Answer) -> None:
        """Write an answer. Raises ConfigError where the folder cannot be written."""
        folder = self.folder / zone
        points = [[point.since.isoformat(), point.g_per_kwh, point.how] for point in answer.points]
        text = json.dumps({"issued": answer.issued.isoformat(), "factor": answer.factor, "points": points})
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / f"{answer.issued:%Y%m%dT%H%M%S%f}-{digest}.json", text)
        except OSError as error:
            raise ConfigError(f"grid.cache_dir: cannot write {folder} ({error.strerror})") from error

    def digest(self, issued_until: datetime) -> tuple[int, str]:
        """The number of answers of all zones issued until that time, and the SHA-256 of their files."""
        kept = [path for path in _files(self.folder) if _issued(path) <= issued_until]
        answers = b"".join(content(path, MOST_TEXT_BYTES).read() for path in kept)
        return len(kept), hashlib.sha256(answers).hexdigest()

    def points(
        self, zone: str, factor: str, issued_until: datetime, foreseen_since: datetime | None = None
    ) -> list[IntensityPoint]:
        """The values of a zone in order of time; where answers overlap, those of the latest answer.

        foreseen_since: forecasts issued before that time are left out. Raises ConfigError for a broken file.
        """
        merged = dict[datetime, IntensityPoint]()
        for path in _files(self.folder / zone):
            answer = _read(path)
            if answer.factor != factor or answer.issued > issued_until:
                continue
            stale = foreseen_since is not None and answer.issued < foreseen_since
            merged |= {p.since: p for p in answer.points if not (stale and p.how == "foreseen")}
        return sorted(merged.values())


def covering(
    points: Sequence[IntensityPoint], begin: datetime, end: datetime, step: timedelta
) -> list[IntensityPoint] | None:
    """The points in force from begin to end, each for at most one step; None if there is a gap. Pure."""
    inside = [point for point in points if begin - step < point.since <= end]
    if not inside or inside[0].since > begin or inside[-1].since + step < end:
        return None
    whole = all(later.since - point.since <= step for point, later in pairwise(inside))
    return inside if whole else None


def covered_until(points: Sequence[IntensityPoint], begin: datetime, step: timedelta) -> datetime | None:
    """The end of the period from `begin` on for which there are points without a gap; None: no such. Pure."""
    until = None
    for point in points:
        if point.since <= (until or begin) < point.since + step:
            until = point.since + step
        elif until is not None and point.since > until:
            break
    return until


def _files(folder: Path) -> list[Path]:
    """All answers below a folder, in order of the time of the request."""
    return sorted(folder.rglob("*.json"), key=lambda path: path.name)


def _issued(path: Path) -> datetime:
    """The time of the request, from the file's name."""
    try:
        return datetime.strptime(path.name.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(f"grid.cache_dir: {path} is not a stored answer; remove it") from error


def _read(path: Path) -> Answer:
    try:
        answer = json.loads(text_of(path))
        issued, factor, rows = (answer[key] for key in ("issued", "factor", "points"))
        points = [IntensityPoint(datetime.fromisoformat(at), float(value), how) for at, value, how in rows]
        found = Answer(datetime.fromisoformat(issued), factor, points)
    except (ValueError, KeyError, TypeError, OSError, OverflowError, RecursionError) as error:
        raise ConfigError(f"grid.cache_dir: {path} is broken ({error}); remove it") from error
    valid = all(0 <= p.g_per_kwh <= MAX_G_PER_KWH and p.since.tzinfo is not None for p in points)
    require(
        valid and found.issued.tzinfo is not None,
        f"grid.cache_dir: {path} is broken (a value or a time is invalid); remove it",
    )
    return found
