"""Rows of published figures, and what is wrong with a file of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from pipeline.results.paper.published import PUBLISHED, published, published_configurations

HEAD = "name,latency_ms_mean,carbon_g_per_inf,intensity_g_per_kwh"


def test_a_rows_energy_is_implied_by_carbon_and_intensity(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(f"{HEAD}\nx,fast,1,500\n")
    row = published(tmp_path / "own.csv", "x")
    assert row["energy_j_per_inf"] == pytest.approx(7200)
    assert math.isnan(row["latency_ms_mean"])
    assert math.isnan(row["inferences_per_g"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "own.csv: not a CSV file"),
        ("name,carbon_g_per_inf\nx,1", "own.csv: has no column intensity_g_per_kwh"),
        (f"{HEAD}\ny,1,1,1", r"own.csv: has 0 rows named 'x' \(it has y\)"),
        (f"{HEAD}\nx,1,1,0", r"own.csv, x: intensity_g_per_kwh must be a number > 0 \(0\)"),
        (f"{HEAD}\nx,-5,1,500", r"own.csv, x: latency_ms_mean must be a number >= 0 .*-5"),
        (f"{HEAD}\nx,inf,1,500", r"own.csv, x: latency_ms_mean must be a number >= 0 .*inf"),
        (f"{HEAD}\nx,1,1e300,500", r"own.csv, x: carbon_g_per_inf must be at most 1e\+18"),
        (f"{HEAD}\nx,1,1,1e9", r"own.csv, x: intensity_g_per_kwh must be at most 2000"),
        (f"{HEAD}\nx,1,1,1e-300", r"own.csv, x: energy_j_per_inf must be at most 1e\+18"),
        (f"{HEAD}\nx,1,n.k.,1", r"own.csv, x: carbon_g_per_inf must be a number > 0 \(n.k.\)"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        published(tmp_path / "own.csv", "x")


def test_the_papers_configurations_of_a_model() -> None:
    rows = published_configurations("mobilenetv4_conv_small")
    assert [*rows] == ["monolithic", "ce_green"]
    assert rows["ce_green"]["carbon_g_per_inf"] == 0.00105
    assert published_configurations("resnet50") == {}
    assert PUBLISHED.is_file()
