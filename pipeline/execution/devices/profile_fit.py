"""The profile that follows from the measured times of a `Bench`. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.domain.profile import Profile
from pipeline.execution.devices.bench import Bench
from pipeline.execution.devices.stage_fit import split_times
from pipeline.network.graph import Graph

HOST = "host"
"""The name in a profile's table under which the devices of an emulated fleet share its rows."""


def fitted(graph: Graph, bench: Bench, *, is_reference: bool) -> Profile:
    """The profile of HOST from measured times, without speeds.

    is_reference: whether the graph is the reference model, whose whole then takes the reference's time.
    """
    layers_s, task_s = split_times(bench.layer_s, bench.whole_s, bench.parts_s, bench.part_bounds)
    # Times were measured in those of the reference model; they should be those at the median probe.
    scale = reference_cpu_s = bench.drift.overall
    if is_reference:
        scale = reference_cpu_s / (layers_s.sum() + task_s)
    return Profile(
        table=_rows(graph, layers_s * scale),
        speeds={},
        reference_cpu_s=reference_cpu_s,
        task_cpu_s={HOST: task_s * scale},
        codec_cpu_s={HOST: {k: [a * scale, b * scale] for k, (a, b) in bench.codec_cpu_s().items()}},
        error={HOST: bench.error(layers_s, task_s)},
        variation={HOST: bench.variation()},
    )


def layers_of(graph: Graph) -> list[tuple[str, str, int, int]]:
    """The layers of a graph, without its weights."""
    return [(layer.name, layer.op, layer.param_bytes, layer.peak_bytes) for layer in graph.layers]


def _rows(graph: Graph, cpu_s: npt.NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "device": HOST,
            "layer": [layer.index for layer in graph.layers],
            "name": [layer.name for layer in graph.layers],
            "op": [layer.op for layer in graph.layers],
            "cpu_s": cpu_s,
            "param_bytes": [layer.param_bytes for layer in graph.layers],
            "peak_bytes": [layer.peak_bytes for layer in graph.layers],
            "boundary_bytes": [cut.num_bytes for cut in graph.cuts[:-1]],
        }
    )
