"""A sweep that is killed, and one whose server is, end as undisturbed ones: a few kills of `make soak`."""

from __future__ import annotations

import pytest

from tests.search import request_faults
from tests.search.soak import main


@pytest.mark.full
def test_a_sweep_that_is_killed_ends_as_an_undisturbed_one() -> None:
    main(kills=2, server_kills=1)


@pytest.mark.full
def test_a_sweep_of_which_one_request_fails_ends_as_an_undisturbed_one() -> None:
    request_faults.main(sample=6, seed=0)
