"""The unit that the name of a trace's column states: `kg_per_mwh`, `gCO₂eq/kWh`, `lbs_co2_per_mwh`. Pure."""

from __future__ import annotations

import re
import unicodedata

from pipeline.carbon.grid import require_no_marginal
from pipeline.carbon.grids.installed_zones import G_PER_KWH_PER_LB_PER_MWH
from pipeline.domain.checks import require

_MARGINAL = re.compile(r"marginal|moer|[ls]rmer")
"""Marginal intensity, as WattTime (MOER) and NREL's Cambium (LRMER, SRMER) name it."""
_GAS = re.compile(r"co2(?:[ _-]?(?:equivalents?|eqv?|e)(?![a-z]))?")
_G = {
    **dict.fromkeys(("g", "gr", "gram", "grams"), 1.0),
    **dict.fromkeys(("kg", "kgs", "kilogram", "kilograms"), 1e3),
    **dict.fromkeys(("t", "tonne", "tonnes"), 1e6),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds"), 1e3 * G_PER_KWH_PER_LB_PER_MWH),
}
_OTHER_MASSES = ("mg", "ug", "mt", "kt", "ton", "tons", "oz")
"""Masses that nobody states an intensity in, or that could be several."""
_SURE = (*[mass for mass in _G if len(mass) > 1], "mg", "ton", "tons")
"""Words that name a mass also where no energy follows: `t` might be a time, `g` is what is expected."""
_KWH = {"wh": 1e-3, "kwh": 1.0, "mwh": 1e3, "gwh": 1e6, "twh": 1e9}
_OTHER_ENERGIES = ("j", "kj", "mj", "gj", "btu", "mmbtu")


def g_per_kwh_of_one(column: str) -> float:
    """How many g/kWh a value of 1 is in a column of that name: 1 where the name states no unit.

    Raises ConfigError for a column of marginal intensity, and for a unit that is not certain.
    """
    name = _plain(column)
    require_no_marginal(f"grid.column: {column!r}", bool(_MARGINAL.search(name)))
    words = re.findall("[a-z]+", name)
    energies = [word for word in words if word in _KWH or word in _OTHER_ENERGIES]
    # A single letter is a unit only beside an energy.
    masses = [word for word in words if word in ((*_G, *_OTHER_MASSES) if energies else _SURE)]
    if not masses and set(energies) <= {"kwh"}:
        return 1.0
    certain = len(masses) == len(energies) == 1 and masses[0] in _G and energies[0] in _KWH
    require(
        certain,
        f"grid.column: {column!r} states a unit that is not read; give the values in g/kWh, or in g, kg, t "
        "or lb per kWh or MWh under a name that says so, as g_per_kwh or kg_per_mwh",
    )
    return _G[masses[0]] / _KWH[energies[0]]


def _plain(column: str) -> str:
    """A name in small letters without the gas, its words apart: `kgCO₂PerMWh` is `kg   mwh`."""
    name = unicodedata.normalize("NFKC", column)  # the ₂ is a 2
    name = re.sub(r"(?<=[a-z])(?=[A-Z])(?!Wh)", " ", name).lower()  # not between the k and the W of kWh
    return _GAS.sub(" ", re.sub(r"per(?=[ _-]*[kmgt]?wh)", " ", name))
