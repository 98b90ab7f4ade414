"""What a trial notes of where it came from."""

from __future__ import annotations

from pipeline.trial import Provenance


def test_params_are_what_was_varied_not_how_it_was_swept() -> None:
    overrides = [
        "sweep=pareto",
        "model=resnet50",
        "+fleet.devices.node-high.zone=DE",
        "partitioner.cuts.0=0.25",
        "+model@further_models.second=vit_b_16",
        "tracking.parent_run_id=abc",
        "hydra.sweeper.n_trials=3",
    ]
    assert Provenance({}, "", overrides).varied() == {
        "model": "resnet50",
        "fleet.devices.node-high.zone": "DE",
        "partitioner.cuts.0": "0.25",
        "further_models.second": "vit_b_16",
    }
