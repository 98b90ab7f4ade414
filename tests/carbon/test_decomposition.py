"""Effects by hand, and that they add up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.carbon.decomposition import EFFECTS, Footprint, effects


def test_effects_by_hand() -> None:
    """Half the carbon at twice the energy: a quarter of the intensity."""
    before = Footprint(energy_j=10, operational_g=4)
    mean = -2 / math.log(1 / 2)
    by = {"energy": mean * math.log(2), "intensity": mean * math.log(1 / 4), "network": 0, "embodied": 0}
    assert effects(before, Footprint(20, 2)) == pytest.approx(by)
    assert effects(before, Footprint(20, 0)) == {"energy": 0, "intensity": -4, "network": 0, "embodied": 0}
    # Without energy the effect is one of energy, at any intensity.
    assert effects(before, Footprint(0, 0)) == {"energy": -4, "intensity": 0, "network": 0, "embodied": 0}
    near = effects(Footprint(10, 1), Footprint(20, 1 + 1e-11))
    assert near["energy"] == pytest.approx(math.log(2) * (1 + 0.5e-11), rel=1e-15)
    assert effects(before, Footprint(10, 4, network_g=1, embodied_g=2)) == {
        "energy": 0, "intensity": 0, "network": 1, "embodied": 2,
    }  # fmt: skip


def test_a_footprint_of_metrics() -> None:
    """Of 5 requests; the 2 J per inference of the link belong to no device."""
    found = Footprint.of(
        {
            "requests_ok": 5, "carbon_g_per_inf": 4.0, "energy_j_per_inf": 10.0, "network_j_per_inf": 2.0,
            "carbon_network_g": 2.5, "carbon_embodied_g": 5.0,
        }
    )  # fmt: skip
    assert found == Footprint(8.0, 2.5, 0.5, 1.0)
    assert found.total_g == 4.0
    bare = Footprint.of({"requests_ok": 5, "carbon_g_per_inf": 4.0, "energy_j_per_inf": 10.0})
    assert bare == Footprint(10.0, 4.0)
    # Of large totals the device's share is lost; its components are not.
    lost = Footprint.of(
        {
            "requests_ok": 1, "carbon_g_per_inf": 1e12, "energy_j_per_inf": 1.0, "network_j_per_inf": 1.1,
            "carbon_network_g": 1e12 + 1, "carbon_dynamic_g": 0.5, "carbon_idle_g": 0.25,
        }
    )  # fmt: skip
    assert lost == Footprint(0.0, 0.75, 1e12 + 1)
    unknown = Footprint.of(
        {"requests_ok": 5, "carbon_g_per_inf": 4.0, "energy_j_per_inf": 9.0, "carbon_embodied_g": math.nan}
    )
    assert unknown == Footprint(9.0, 4.0)


def test_effects_of_what_differs_beyond_all_quotients() -> None:
    for before, after in ((1e-300, 1e11), (1e11, 1e-300), (5e-324, 1e17)):
        found = effects(Footprint(before * 4, before), Footprint(after * 2, after))
        assert all(map(math.isfinite, found.values()))
        assert found["energy"] + found["intensity"] == pytest.approx(after - before)


POSITIVE = st.floats(1e-6, 1e6)
FOOTPRINTS = st.builds(
    Footprint, POSITIVE, st.one_of(st.just(0.0), POSITIVE), st.floats(0, 1e6), st.floats(0, 1e6)
)


@settings(max_examples=1000)
@given(FOOTPRINTS, FOOTPRINTS)
def test_effects_add_up_to_the_difference(before: Footprint, after: Footprint) -> None:
    found = effects(before, after)
    assert tuple(found) == EFFECTS
    size = before.total_g + after.total_g
    assert math.fsum(found.values()) == pytest.approx(
        after.total_g - before.total_g, rel=1e-9, abs=1e-12 * size
    )
    back = effects(after, before)
    assert [back[key] for key in EFFECTS] == pytest.approx([-found[key] for key in EFFECTS], abs=1e-9 * size)
    if before.energy_j == after.energy_j:
        assert found["energy"] == 0


@pytest.mark.parametrize("joules", [0.1, 0.3, 0.7, 1.1, 2.3])
def test_rounding_is_no_effect(joules: float) -> None:
    """530 g/kWh in both: all is energy, and not 1e-20 g of it intensity; and the other way round."""
    before, after = (Footprint(j, j / 3.6e6 * 530) for j in (0.9, joules))
    found = effects(before, after)
    assert found["intensity"] == 0.0
    assert found["energy"] == after.total_g - before.total_g
    cleaner = effects(Footprint(joules, joules * 530), Footprint(joules * (1 + 1e-16), joules * 380))
    assert cleaner["energy"] == 0.0
