"""Latencies of any number of requests, in memory that has a bound. Pure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pandas as pd

MAX_EXACT = 2**16
"""Latencies that are kept; beyond so many, bins that are BIN_WIDTH wide are counted."""
BIN_WIDTH = 1e-3
"""Relative: a percentile of bins is off by half of it at most (Masson et al., "DDSketch", VLDB 2019)."""
PERCENTS = (50, 95, 99)
OWN = ("dynamic", "network")
"""Components that a request has of its own."""


class Latencies:
    """Latencies of any number of requests, in memory that has a bound."""

    def __init__(self) -> None:
        self._kept: npt.NDArray[np.float64] | None = np.empty(0)
        self._bins: Counter[int] = Counter()
        self.count = 0
        self.sum_s = 0.0

    def add(self, latency_s: npt.NDArray[np.float64]) -> None:
        """Take them in."""
        self.count += len(latency_s)
        self.sum_s += float(latency_s.sum())
        if self._kept is not None:
            self._kept = np.concatenate([self._kept, latency_s])
            if self.count <= MAX_EXACT:
                return
            latency_s, self._kept = self._kept, None
        places = np.floor(np.log(np.maximum(latency_s, 1e-9)) / np.log1p(BIN_WIDTH)).astype(int)
        self._bins.update(
            dict(zip(*(each.tolist() for each in np.unique(places, return_counts=True)), strict=True))
        )

    def percentile_s(self, percent: float) -> float:
        """Within which so many per cent of them lie; of at least one."""
        if self._kept is not None:
            return float(np.percentile(self._kept, percent))
        places = sorted(self._bins)
        upto = np.cumsum([self._bins[place] for place in places])
        place = places[int(np.searchsorted(upto, percent / 100 * (self.count - 1), side="right"))]
        return float((1 + BIN_WIDTH) ** (place + 0.5))


class Class:
    """What came of the requests of one model, tenant and deadline."""

    def __init__(self) -> None:
        self.latencies = Latencies()
        self.num_requests = self.num_rejected = self.num_promised = self.num_missed = 0
        self.carbon_g: Counter[str] = Counter()
        """Of what was computed and moved for them, by component."""

    def add(self, requests: pd.DataFrame) -> None:
        """Take in rows of `by_request`, with grams in a column for each component of OWN."""
        answered = requests.loc[~requests["failed"]]
        self.latencies.add(answered["latency_s"].to_numpy(dtype=float))
        self.num_requests += len(requests)
        self.num_rejected += int(requests["rejected"].sum())
        promised = np.isfinite(requests["deadline_s"])
        late = requests["failed"] | (requests["latency_s"] > requests["deadline_s"])
        self.num_promised += int(promised.sum())
        self.num_missed += int((promised & late).sum())
        for component in OWN:
            self.carbon_g[component] += float(requests[component].sum())  # type: ignore[assignment]

    def latency_metrics(self) -> dict[str, float]:
        """Mean and percentiles in ms, of at least one answer; the share of promises that were missed."""
        metrics: dict[str, float] = {}
        if self.num_promised:
            metrics["slo_miss_rate"] = self.num_missed / self.num_promised
        if self.latencies.count:
            metrics["latency_ms_mean"] = self.latencies.sum_s / self.latencies.count * 1e3
            for percent in PERCENTS:
                metrics[f"latency_ms_p{percent}"] = self.latencies.percentile_s(percent) * 1e3
        return metrics
