"""Latencies of any number of requests in bounded memory, and the totals of a class of requests. Pure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from pipeline.results.metric_keys import interval_keys

MAX_EXACT = 2**16
"""Most latencies that are kept one by one; more are counted in bins of width BIN_WIDTH."""
BIN_WIDTH = 1e-3
"""Relative width of a bin: a percentile errs by at most half of it (Masson et al., "DDSketch", VLDB 2019)."""
PERCENTS = (50, 95, 99)
REQUEST_COMPONENTS = ("dynamic", "network")
"""Components of carbon that belong to a request; idle and embodied carbon belong to none."""


class Latencies:
    """The sum and the percentiles of any number of latencies."""

    def __init__(self) -> None:
        self._kept: npt.NDArray[np.float64] | None = np.empty(0)
        self._bins: Counter[int] = Counter()
        self.count = 0
        self.sum_s = 0.0

    def add(self, latency_s: npt.NDArray[np.float64]) -> None:
        """Add latencies, in seconds: (requests,)."""
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
        """A percentile (0 to 100) of the latencies; there must be at least one latency."""
        if self._kept is not None:
            return float(np.percentile(self._kept, percent))
        return self._ordered_s(percent / 100 * (self.count - 1))

    def percentile_interval_s(self, percent: float) -> tuple[float, float] | None:
        """The 95% interval of a percentile of the distribution from which the latencies are drawn.

        It holds for any distribution of independent latencies: its ends are order statistics, since the
        number of latencies below the percentile is binomial (David and Nagaraja, "Order Statistics", 7.1).
        None where there are too few latencies for both ends: 6 for the median, 368 for the 99th percentile.
        """
        below = special.bdtr(np.arange(self.count + 1.0), self.count, percent / 100)
        low, high = (int(np.searchsorted(below, tail)) for tail in (0.025, 0.975))
        if low == 0 or high >= self.count:
            return None
        return self._ordered_s(low - 1), self._ordered_s(high)

    def _ordered_s(self, place: float) -> float:
        """The latency at a place in ascending order, from 0; the middle of its bin where they are counted."""
        if self._kept is not None:
            return float(np.partition(self._kept, int(place))[int(place)])
        places = sorted(self._bins)
        upto = np.cumsum([self._bins[place] for place in places])
        return float((1 + BIN_WIDTH) ** (places[int(np.searchsorted(upto, place, side="right"))] + 0.5))


class ClassTotals:
    """Totals of the requests of one class: counts, latencies, deadlines missed, carbon."""

    def __init__(self) -> None:
        self.latencies = Latencies()
        self.num_requests = self.num_rejected = self.num_with_deadline = self.num_missed = 0
        self.carbon_g: Counter[str] = Counter()
        """Carbon of the requests' own work, by component."""

    def add(self, requests: pd.DataFrame) -> None:
        """Add a table of requests.

        Columns: those of `by_request`, and one for each of REQUEST_COMPONENTS, in grams.
        """
        answered = requests.loc[~requests["failed"]]
        self.latencies.add(answered["latency_s"].to_numpy(dtype=float))
        self.num_requests += len(requests)
        self.num_rejected += int(requests["rejected"].sum())
        with_deadline = np.isfinite(requests["deadline_s"])
        late = requests["failed"] | (requests["latency_s"] > requests["deadline_s"])
        self.num_with_deadline += int(with_deadline.sum())
        self.num_missed += int((with_deadline & late).sum())
        for component in REQUEST_COMPONENTS:
            self.carbon_g[component] += float(requests[component].sum())  # type: ignore[assignment]

    def latency_metrics(self) -> dict[str, float]:
        """Metrics of latency, if any request was answered, and `slo_miss_rate`, if any had a deadline."""
        metrics: dict[str, float] = {}
        if self.num_with_deadline:
            metrics["slo_miss_rate"] = self.num_missed / self.num_with_deadline
        if self.latencies.count:
            metrics["latency_ms_mean"] = self.latencies.sum_s / self.latencies.count * 1e3
            for percent in PERCENTS:
                metrics[f"latency_ms_p{percent}"] = self.latencies.percentile_s(percent) * 1e3
        return metrics

    def latency_intervals(self) -> dict[str, float]:
        """The ends of the percentiles' 95% intervals (`Latencies.percentile_interval_s`), where known."""
        metrics: dict[str, float] = {}
        for percent in PERCENTS:
            ends_s = self.latencies.percentile_interval_s(percent)
            keys = interval_keys(f"latency_ms_p{percent}")
            metrics |= {key: end_s * 1e3 for key, end_s in zip(keys, ends_s or (), strict=False)}
        return metrics
