"""A stage takes its start, its layers, and the codecs at its ends: worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.domain.fleet import Fleet
from pipeline.planning.stage_times import StageTimes
from tests.conftest import CODECS, MakeProblem, stage_s

FAST, CLEAN = 0, 1


def test_a_stage_is_a_start_and_its_layers(make_problem: MakeProblem, two_devices: Fleet) -> None:
    """Layer k takes k + 1 ms of CPU, a start .5 ms; `clean` is half as quick."""
    times = StageTimes.of(make_problem(two_devices))
    assert times.seconds(FAST, 1, 4) == pytest.approx(0.002 + 0.003 + 0.004 + 0.0005)
    assert times.seconds(CLEAN, 1, 4) == pytest.approx(0.018 + 0.001)
    assert times.seconds([FAST, CLEAN], 0, 6) == pytest.approx([0.0215, 0.043])
    assert times.seconds(FAST, 1, 4, decodes=True, encodes=True) == times.seconds(FAST, 1, 4)


def test_codecs_count_where_tensors_cross_compressed(make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = replace(make_problem(two_devices), compression="int8")
    sizes = [cut.num_bytes for cut in problem.graph.cuts]
    (encode_a, encode_b), (decode_a, decode_b) = CODECS["int8 encode"], CODECS["int8 decode"]
    decode_s, encode_s = decode_a + decode_b * sizes[1], encode_a + encode_b * sizes[4]
    times = StageTimes.of(problem)
    assert times.seconds(FAST, 1, 4, decodes=True) == pytest.approx(0.0095 + decode_s)
    assert times.seconds(FAST, 1, 4, encodes=True) == pytest.approx(0.0095 + encode_s)
    assert times.seconds(CLEAN, 1, 4, True, True) == pytest.approx(2 * (0.0095 + decode_s + encode_s))
    assert times.opening_s[FAST, 1] == pytest.approx(0.0005 + decode_s)


@pytest.mark.parametrize("compression", ["float32", "float16"])
def test_all_stages_are_each_stage(compression: str, make_problem: MakeProblem, two_devices: Fleet) -> None:
    problem = replace(make_problem(two_devices), compression=compression)
    times = StageTimes.of(problem)
    bare, with_codecs = times.all_stages(codecs=False), times.all_stages(codecs=True)
    for device, name in enumerate(two_devices.by_name):
        for begin in range(6):
            for end in range(begin + 1, 7):
                assert bare[device, begin, end] == pytest.approx(stage_s(problem.profile, name, begin, end))
                codecs = begin > 0, end < 6
                assert with_codecs[device, begin, end] == times.seconds(device, begin, end, *codecs)
    assert np.array_equal(bare, with_codecs) == (compression == "float32")
