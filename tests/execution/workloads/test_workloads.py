"""Arrivals have the statistics of their processes; blocks, seeds, classes, and files by hand."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.domain.checks import ConfigError
from pipeline.domain.requests import RequestClass, Requests
from pipeline.execution.workloads.closed_loop import Closed
from pipeline.execution.workloads.open_loop import Bursty, Diurnal, Poisson
from pipeline.execution.workloads.replay import Replay
from pipeline.execution.workloads.workload import BLOCK
from tests.conftest import choices, configured

CLASSES = (RequestClass("much", share=3), RequestClass("little", share=1))
START = datetime(2030, 1, 1, 6, tzinfo=UTC)


def all_of(workload: Any, capacity_rps: float = 1.0) -> Requests:
    blocks = list(workload.arrivals(capacity_rps, START))
    assert all(0 < len(block) <= BLOCK for block in blocks)
    arrival_s = np.concatenate([block.arrival_s for block in blocks])
    assert (np.diff(arrival_s) >= 0).all()
    return Requests(arrival_s, np.concatenate([block.kind for block in blocks]))


def dispersion(times_s: npt.NDArray[np.float64], window_s: float) -> float:
    """Variance ÷ mean of the counts in windows: 1 for a Poisson process."""
    counts = np.bincount((times_s / window_s).astype(int))
    return float(counts.var() / counts.mean())


def test_poisson() -> None:
    times_s = all_of(Poisson(rate_rps=100, duration_s=5000)).arrival_s
    gaps_s = np.diff(times_s)
    assert times_s[-1] < 5000
    # 500 000 expected; the standard deviation is 707.
    assert len(times_s) == pytest.approx(500_000, abs=3000)
    assert gaps_s.std() == pytest.approx(0.01, rel=0.01)
    assert np.quantile(gaps_s, [0.5, 0.9, 0.99]) == pytest.approx(-np.log([0.5, 0.1, 0.01]) / 100, rel=0.01)
    assert np.corrcoef(gaps_s[:-1], gaps_s[1:])[0, 1] == pytest.approx(0, abs=0.01)
    assert dispersion(times_s, 1.0) == pytest.approx(1, abs=0.1)


def test_the_rate_may_be_a_share_of_what_the_fleet_can_do() -> None:
    assert len(all_of(Poisson(utilisation=0.5, duration_s=100), capacity_rps=40).arrival_s) == pytest.approx(
        2000, abs=200
    )


def test_bursty_has_the_mean_rate_and_is_not_poisson() -> None:
    times_s = all_of(
        Bursty(rate_rps=50, duration_s=20_000, burst_factor=20, burst_share=0.1, burst_s=2)
    ).arrival_s
    assert len(times_s) == pytest.approx(1_000_000, rel=0.03)
    assert dispersion(times_s, 2.0) > 20
    counts = np.bincount(times_s.astype(int), minlength=20_000)
    # 50 / (1 + .1 * 19) = 17.2 a second between bursts and 345 in one, less where an edge cuts the second.
    assert (counts > 150).mean() == pytest.approx(0.1, abs=0.03)
    assert np.median(counts) == pytest.approx(17.2, abs=1)


def test_diurnal_follows_the_hour_of_the_day() -> None:
    workload = Diurnal(rate_rps=20, duration_s=10 * 86400, swing=0.8, peak_hour=18, utc_offset_h=2)
    times_s = all_of(workload).arrival_s
    hours = ((6 + 2) * 3600 + times_s) % 86400 // 3600
    counts = np.bincount(hours.astype(int)) / 10 / 3600
    expected = 20 * (1 + 0.8 * np.cos(2 * np.pi * (np.arange(24) + 0.5 - 18) / 24))
    assert counts == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: Closed(requests=200_000, classes=CLASSES, seed=seed),
        lambda seed: Poisson(rate_rps=2000, duration_s=100, classes=CLASSES, seed=seed),
        lambda seed: Bursty(rate_rps=2000, duration_s=100, classes=CLASSES, seed=seed),
        lambda seed: Diurnal(rate_rps=2000, duration_s=100, classes=CLASSES, seed=seed, peak_hour=6),
    ],
    ids=["closed", "poisson", "bursty", "diurnal"],
)
def test_a_seed_repeats_and_classes_have_their_shares(make: Any) -> None:
    one, same, other = (all_of(make(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.arrival_s, same.arrival_s)
    assert np.array_equal(one.kind, same.kind)
    assert not np.array_equal(one.kind[:100], other.kind[:100])
    assert np.bincount(one.kind) / len(one) == pytest.approx([0.75, 0.25], abs=0.01)


def test_classes_of_a_config() -> None:
    workload = configured(
        "workload", "poisson", classes={"fast": {"deadline_s": 0.5, "tenant": "us"}, "slow": {"share": 2}}
    )
    assert workload.classes == (RequestClass("fast", "us", deadline_s=0.5), RequestClass("slow", share=2))
    assert Closed().classes == (RequestClass(),)


def test_a_deadline_may_have_a_unit() -> None:
    (found,) = RequestClass.all({"a": {"deadline_s": "50 ms"}})
    assert found.deadline_s == 0.05


def replay(path: Path, text: str) -> Replay:
    (path / "trace.csv").write_text(text)
    return Replay(str(path / "trace.csv"))


def test_replay_by_hand(tmp_path: Path) -> None:
    workload = replay(
        tmp_path,
        "timestamp,tenant,deadline_s\n2024-05-01T10:00:00Z,a,0.5\n2024-05-01T10:00:01.5Z,b,\n2024-05-01T12:00:02+02:00,a,.5\n",
    )
    requests = all_of(workload)
    assert requests.arrival_s.tolist() == [0, 1.5, 2]
    assert requests.kind.tolist() == [0, 1, 0]
    assert [(c.tenant, c.deadline_s, c.model) for c in workload.classes] == [
        ("a", 0.5, None),
        ("b", None, None),
    ]
    assert (workload.horizon_s, workload.count, workload.concurrency) == (2, None, None)
    assert all_of(replay(tmp_path, "timestamp,model\n5,m\n5,m\n7.25,n\n")).arrival_s.tolist() == [0, 0, 2.25]


def test_ids_of_a_replay_are_texts(tmp_path: Path) -> None:
    """Namibia's NA was no tenant, and 7 beside an empty cell was 7.0."""
    rows = [("NA", "null"), ("007", "1e3"), ("7", ""), ("", "nan"), ("None", "true")]
    text = "".join(f"{at},{tenant},{model}\n" for at, (tenant, model) in enumerate(rows))
    found = replay(tmp_path, "timestamp,tenant,model\n" + text).classes
    assert [(c.tenant, c.model) for c in found] == [(t or "default", m or None) for t, m in rows]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a CSV file"),
        ("when\n1\n", "must have rows under timestamp .*it has 1 under when"),
        ("timestamp\n", "it has 0 under timestamp"),
        ("timestamp\n0\n1e250\n", r"trace.csv, line 3: timestamp must be seconds, at most 1e\+10"),
        ("timestamp\n1e200\n1e200\n", "trace.csv, line 2: timestamp must be seconds, at most"),
        (
            "timestamp\n1479201600000\n1479201600250\n",
            "line 2: timestamp must be seconds, .* not parts of a sec",
        ),
        ("timestamp\n2024-05-01T10:00:00\n", "line 2: timestamp must state its offset, as in"),
        ("timestamp\n2024-05-01T10:00Z\n9999-12-31T10:00Z\n", "line 3: timestamp must be an ISO time"),
        ("timestamp\n0\n1\n2e9\n", r"trace.csv, line 4: timestamp must be at most 1e\+09 s after the first"),
        ("timestamp,deadline_s\n0,1e200\n", r"line 2: deadline_s must be a number > 0 and at most 1e\+09"),
        ("timestamp,deadline\n1,2\n", "deadline"),
        ("timestamp\n1\nsoon\n", "line 3: timestamp must be an ISO time or seconds"),
        ("timestamp\n2\n1\n", "line 3: timestamp must not be before"),
        ("timestamp,deadline_s\n1,5\n2,-1\n", "line 3: deadline_s must be a number > 0"),
        ("timestamp,deadline_s\n1,soon\n", "line 2: deadline_s"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"workload.path: .*{message}"):
        replay(tmp_path, text)
    with pytest.raises(ConfigError, match="workload.path: no such file"):
        Replay(str(tmp_path / "nowhere.csv"))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            Poisson,
            {"rate_rps": 1, "classes": {"a": {"deadline_s": "50 mW"}}},
            r"^workload\.classes\.a\.deadline_s: must be a number in s or a text such as '5 ms'",
        ),
        (Poisson, {"rate_rps": 1, "utilisation": 0.5}, "give either rate_rps or utilisation"),
        (Poisson, {}, "give either rate_rps or utilisation"),
        (Poisson, {"rate_rps": 0}, "rate_rps must be a number > 0"),
        (Poisson, {"rate_rps": 1, "duration_s": float("inf")}, "duration_s must be a number > 0"),
        (Poisson, {"rate_rps": 1, "seed": 1.5}, "workload.seed: must be a whole number"),
        (Poisson, {"rate_rps": 1, "classes": {"a": {"share": 0}}}, "the shares are all 0"),
        (Poisson, {"rate_rps": 1, "classes": {"a": {"deadline_s": 0}}}, "workload.classes.a: deadline_s"),
        (Poisson, {"rate_rps": 1, "classes": {"a": {"speed": 1}}}, "workload.classes.a: unknown key 'speed'"),
        (Bursty, {"rate_rps": 1, "burst_share": 1}, "burst_share must be below 1"),
        (Bursty, {"rate_rps": 1, "burst_factor": 0.5}, "burst_factor must be a number >= 1"),
        (Diurnal, {"rate_rps": 1, "swing": 1.2}, "swing must lie in"),
        (Closed, {"concurrency": 0}, "workload.concurrency: must be a whole number >= 1"),
    ],
)
def test_bad_settings(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**options)


def test_every_file_builds_a_workload(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("timestamp\n1\n")
    for name in choices("workload"):
        rest = {"path": str(tmp_path / "trace.csv")} if name == "replay" else {}
        workload = configured("workload", name, **rest)
        first = next(itertools.islice(workload.arrivals(10.0, START), 1))
        assert len(first) >= 1


def test_a_dated_log_knows_when_it_was(tmp_path: Path) -> None:
    first = datetime(2021, 6, 1, 10, tzinfo=UTC)
    assert replay(tmp_path, "timestamp\n2021-06-01T12:00+02:00\n").first_utc == first
    assert replay(tmp_path, "timestamp\n1622541600\n").first_utc == first
    assert replay(tmp_path, "timestamp\n0\n160\n").first_utc is None


def test_a_torn_last_line_is_no_request(tmp_path: Path) -> None:
    """It was a request without a deadline."""
    found = replay(tmp_path, "timestamp,tenant,deadline_s\n0,a,0.05\n1,b")
    assert all_of(found).arrival_s.tolist() == [0]
    assert [(c.tenant, c.deadline_s) for c in found.classes] == [("a", 0.05)]
    assert len(all_of(replay(tmp_path, "timestamp,tenant\n0,a\n1,b"))) == 2  # whole, without an end


def test_rows_with_more_fields_than_names_are_refused(tmp_path: Path) -> None:
    """pandas would take the first field for a name of the row."""
    file = tmp_path / "requests.csv"
    file.write_text("timestamp\n0,50\n1,90\n")
    with pytest.raises(
        ConfigError, match=r"workload.path: .*rows have more fields than the header 'timestamp'"
    ):
        Replay(str(file))
    with pytest.raises(ConfigError, match=r"workload.path: must be a file's path"):
        Replay(None)  # type: ignore[arg-type]


def test_a_run_that_would_not_end_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"about 1e\+09 requests would arrive in 1000 s, more"):
        next(Poisson(duration_s=1e3, rate_rps=1e6).arrivals(1.0, START))
    with pytest.raises(ConfigError, match=r"about 2e\+03 requests .*most_requests .1,999."):
        next(Diurnal(duration_s=1e3, utilisation=0.5, most_requests=1999).arrivals(4.0, START))
    assert len(next(Poisson(duration_s=1e3, utilisation=0.5, most_requests=2000).arrivals(4.0, START))) > 1
    with pytest.raises(ConfigError, match=r"^workload: 99999999999999 requests .* .100,000,000.; lower"):
        Closed(requests=99999999999999)
    with pytest.raises(ConfigError, match=r"11 requests would .*most_requests .10.; lower workload.requests"):
        Closed(requests=11, most_requests=10)
    with pytest.raises(ConfigError, match=r"burst_s of 1e-300 would be 1e\+300 bursts in 10 s"):
        Bursty(duration_s=10, rate_rps=1, burst_s=1e-300)
