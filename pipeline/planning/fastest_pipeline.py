"""The pipeline with the highest throughput, each device at most once. Pure.

Source: Hu et al., "PipeEdge: Pipeline Parallelism for Large-Scale Model Inference on Heterogeneous Edge
Devices", DSD 2022 (arXiv 2110.14895): dynamic programming over (layers done, devices used, last device),
where a pipeline is as slow as its slowest stage or transfer, and each device holds one stage at most.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.domain.checks import require
from pipeline.planning.cost import NOWHERE, Tables

MAX_DEVICES = 18
"""Limit on devices, as the size of the table grows with 2^devices."""

Ranks = npt.NDArray[np.unsignedinteger]


def fastest_pipeline(
    tables: Tables, *, memory: bool = True, max_stages: int | None = None
) -> tuple[list[int], list[int]]:
    """Bounds (K + 1) and device indices (K) of the pipeline of least period; both empty if none fits.

    Every time that can be a bottleneck is replaced by its rank, so that the table holds small integers, and
    `max` and `min` over it are exact. least[p][last, e, s] is the rank of the best pipeline of layers[:e]
    that uses the s-th set of p devices and ends on device `last`. memory: whether each stage must fit.
    max_stages: None for no limit. Raises ConfigError for too many devices.
    """
    count, layers = len(tables.names), tables.num_layers
    require(
        count <= MAX_DEVICES,
        f"the least period is found for {MAX_DEVICES} devices at most ({count} given)",
    )
    times, stage, travel, fetch = _ranks(tables, memory)
    never = len(times)
    sets = [np.flatnonzero(_bits(count) == size) for size in range(count + 1)]
    place = np.zeros(2**count, dtype=np.int64)
    best, answer = never, (0, 0, 0)
    least = [np.zeros((count, layers + 1, 0), dtype=stage.dtype)]
    for size in range(1, min(count, max_stages or count) + 1):
        place[sets[size]] = np.arange(len(sets[size]))
        table = np.full((count, layers + 1, len(sets[size])), never, dtype=stage.dtype)
        for d in range(count):
            into = place[sets[size][sets[size] >> d & 1 == 1]]
            before = sets[size][into] ^ (1 << d)
            if size == 1:
                table[d, :, into] = np.maximum(stage[d, 0], fetch[d])
                continue
            ready = _ready(least[size - 1], travel[:, :, d], place[before], d)
            reached = np.full((layers + 1, len(into)), never, dtype=stage.dtype)
            for b in range(size - 1, layers):
                longer = np.maximum(ready[b], stage[d, b, b + 1 :, None])
                np.minimum(reached[b + 1 :], longer, out=reached[b + 1 :])
            table[d][:, into] = reached
        least.append(table)
        found = table[:, layers].min(initial=never)
        if found < best:
            last, index = np.argwhere(table[:, layers] == found)[0]
            best, answer = int(found), (size, int(last), int(sets[size][index]))
        # A set of devices whose best rank is not below that of the answer cannot lead to a better one.
        table[:, :, table.min(axis=(0, 1)) >= best] = never
    if best == never:
        return [], []
    return _trace_back(answer, best, least, place, stage, travel)


def _ready(least: Ranks, travel: Ranks, columns: npt.NDArray[np.int64], device: int) -> Ranks:
    """(cuts, sets): the best rank, over all last devices, of a pipeline up to a cut, and the transfer."""
    ready: Ranks = np.full((least.shape[1], len(columns)), np.iinfo(least.dtype).max, dtype=least.dtype)
    for last in range(len(least)):
        if last != device:
            np.minimum(ready, np.maximum(least[last][:, columns], travel[:, last, None]), out=ready)
    return ready


def _trace_back(
    answer: tuple[int, int, int],
    best: int,
    least: list[Ranks],
    place: npt.NDArray[np.int64],
    stage: Ranks,
    travel: Ranks,
) -> tuple[list[int], list[int]]:
    """Bounds and device indices of any pipeline of the best rank, found from the last stage to the first."""
    size, device, used = answer
    end = stage.shape[1] - 1
    bounds, devices = [end], [device]
    while size > 1:
        size, used = size - 1, used ^ (1 << device)
        before = least[size][:, :end, place[used]]
        possible = (np.maximum(before, travel[:end, :, device].T) <= best) & (
            stage[device, :end, end] <= best
        )
        device, end = (int(x) for x in np.argwhere(possible)[0])
        bounds.append(end)
        devices.append(device)
    return [0, *bounds[::-1]], devices[::-1]


def _ranks(tables: Tables, memory: bool) -> tuple[npt.NDArray[np.float64], Ranks, Ranks, Ranks]:
    """All finite times in ascending order, and the ranks of stages (device, begin, end), of transfers (cut,
    from, to) and of fetching the input (device). Infinite times share the highest rank."""
    t, layers = tables, tables.num_layers
    stage_s = t.times.all_stages(codecs=True)
    upward = np.triu(np.ones((layers + 1, layers + 1), dtype=bool), 1)
    fits = t.stage_bytes[None] <= t.memory_bytes[:, None, None]
    stage_s[~(upward & (fits | (not memory)))] = np.inf
    sending_s = t.sending_s
    fetch_s = np.zeros(len(t.names)) if t.source == NOWHERE else sending_s[0, t.source]
    parts = (stage_s, sending_s, fetch_s)
    flat = np.concatenate([part.ravel() for part in parts])
    times, ranks = np.unique(flat, return_inverse=True)
    times = times[np.isfinite(times)]
    ranks = ranks.astype(np.uint16 if len(times) < 2**16 - 1 else np.uint32)
    edges = np.cumsum([part.size for part in parts])[:-1]
    stage, travel, fetch = (
        piece.reshape(part.shape) for piece, part in zip(np.split(ranks, edges), parts, strict=True)
    )
    return times, stage, travel, fetch


def _bits(count: int) -> npt.NDArray[np.int64]:
    """(2^count,): the number of bits set in each number below 2^count."""
    bits = np.zeros(2**count, dtype=np.int64)
    for bit in range(count):
        bits += np.arange(2**count) >> bit & 1
    return bits
