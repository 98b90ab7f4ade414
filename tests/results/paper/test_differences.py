"""The sentences on where the paper's figures and those measured here differ."""

from __future__ import annotations

from pipeline.results.paper.differences import differences
from pipeline.results.paper.measured import measured
from tests.results.paper.conftest import REPETITIONS, weights


def test_every_difference_of_a_model_is_stated_with_its_reason() -> None:
    latency, carbon, by_host, host, placement, switch = differences(measured(REPETITIONS), weights())
    assert latency.startswith(
        "mobilenet_v2: monolithic takes 200.1 ms here and 254.8 ms there (×0.78): another host"
    )
    assert "CE-Green's latency is +20.0% here, +6.7% there" in latency
    assert (
        "per device against the paper's -22.9%. At equal energy the intensities alone change it by -28.3%"
        in carbon
    )
    assert by_host.startswith("mobilenet_v2: by the paper's accounting CE-Green's carbon is -28.3% here")
    assert "the host took 3.600 J an inference here" in host
    assert "the paper's figures imply 36.00 J" in host
    assert "CE-Balanced chooses node-green, not node-high" in placement
    assert switch.startswith("The paper's scores switch to node-green at w_C = 0.6 here, not at 0.5")


def test_a_model_that_the_paper_does_not_have_differs_in_nothing() -> None:
    figures = measured(REPETITIONS).assign(model="resnet50")
    assert len(differences(figures, weights())) == 1
