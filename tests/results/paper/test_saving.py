"""The paper's saving, taken apart; a run's beside it."""

from __future__ import annotations

import io
from typing import cast

import pytest

from pipeline.results.paper.published import published_metrics
from pipeline.results.paper.saving import comparison, print_comparison, saving
from pipeline.results.terminal import terminal

PAPER = {
    "monolithic": published_metrics("carbonedge.csv:mobilenet_v2 monolithic"),
    "green": published_metrics("carbonedge.csv:mobilenet_v2 CE-Green"),
}
LATENCY, CARBON, RATE = "latency_ms_p50", "carbon_g_per_inf", "inferences_per_g"


def test_the_papers_saving_is_the_intensity_not_the_energy() -> None:
    # C = E * I: 0.0053 g = 36.0 J * 530 g/kWh / 3.6e6, 0.0041 g = 38.8 J * 380 g/kWh / 3.6e6
    paper = comparison({"monolithic": None, "green": None}, PAPER).loc["paper"]
    assert paper["energy_j_per_inf"].tolist() == pytest.approx([36.0, 38.84, 1.0789], rel=1e-4)
    assert paper["intensity_g_per_kwh"].tolist() == pytest.approx([530, 380, 380 / 530])
    assert paper[CARBON].tolist() == pytest.approx([0.0053, 0.0041, 0.7736], rel=1e-4)
    assert paper[LATENCY].tolist() == pytest.approx([254.85, 272.02, 1.0674], rel=1e-4)
    assert paper[RATE].tolist() == pytest.approx([189.5, 245.8, 1.2971], rel=1e-4)
    assert saving(cast("dict[str, float]", paper.loc["ratio"].to_dict())) == (
        "22.6% less carbon (×0.774) = 7.9% more energy (×1.079) at 28.3% lower intensity (×0.717): "
        "all of the saving is cleaner electricity, none is less energy."
    )


def test_carbon_is_exactly_energy_times_intensity_here_too() -> None:
    here = comparison(
        {
            "monolithic": {LATENCY: 20.0, CARBON: 4e-4, RATE: 2500.0, "energy_j_per_inf": 3.0, "stages": 1},
            "green": {LATENCY: 25.0, CARBON: 3e-4, RATE: 3333.3, "energy_j_per_inf": 2.5},
        }
    ).loc["here"]
    assert here.loc["monolithic", "intensity_g_per_kwh"] == pytest.approx(480)
    ratio = here.loc["ratio"]
    assert ratio[CARBON] == pytest.approx(0.75)
    assert ratio["energy_j_per_inf"] * ratio["intensity_g_per_kwh"] == pytest.approx(ratio[CARBON])


@pytest.mark.parametrize(
    ("energy", "intensity", "verdict"),
    [
        (0.5, 0.5, "50% of the saving is less energy, 50% cleaner electricity."),
        (0.9, 0.6, "17% of the saving is less energy, 83% cleaner electricity."),
        (0.5, 1.2, "all of the saving is less energy, none is cleaner electricity."),
        (0.5, 1.0, "all of the saving is less energy, none is cleaner electricity."),
        (1.1, 1.0, "there is no saving."),
    ],
)
def test_the_sentence_follows_the_factors(energy: float, intensity: float, verdict: str) -> None:
    """Factors multiply, so shares are of logarithms: ln .9 ÷ ln .54 = .171."""
    ratio = {"energy_j_per_inf": energy, "intensity_g_per_kwh": intensity, CARBON: energy * intensity}
    assert saving(ratio).endswith(verdict)


def test_what_is_not_known_is_not_invented() -> None:
    green = {LATENCY: 25.0, CARBON: 3e-4, "energy_j_per_inf": 0.0}
    table = comparison({"monolithic": None, "green": green}, PAPER)
    here = table.loc["here"]
    assert here.loc["monolithic"].isna().all()
    assert here.loc["ratio"].isna().all()
    assert here["intensity_g_per_kwh"].isna().all()
    console = terminal(io.StringIO(), 160)
    print_comparison(console, table)
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    assert "Here: n/a: carbon and energy of both configurations are needed." in text
    assert "0.3000" in text
    assert "nan" not in text
