"""Rows of published figures, and what is wrong with a file of them."""

from __future__ import annotations

import gzip
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
        (f"{HEAD}\nx,1,1,1e-300", r"own.csv, x: intensity_g_per_kwh must be a number >= 0.001 \(1e-300\)"),
        (f"{HEAD}\nx,1,5e-324,1", r"own.csv, x: carbon_g_per_inf must be a number >= 1e-15"),
        (f"{HEAD}\nx,1,n.k.,1", r"own.csv, x: carbon_g_per_inf must be a number > 0 \(n.k.\)"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        published(tmp_path / "own.csv", "x")


def test_a_file_that_unpacks_to_more_than_it_may_is_not_read(tmp_path: Path) -> None:
    packed = tmp_path / "own.csv.gz"
    packed.write_bytes(gzip.compress(f"{HEAD}\nx,1,1,500\n".encode() + b"\n" * 10_000_000))
    with pytest.raises(
        ConfigError, match=r"own.csv.gz: not a CSV file \(it holds more than 10.0 MB unpacked"
    ):
        published(packed, "x")
    packed.write_bytes(gzip.compress(f"{HEAD}\nx,1,1,500\n".encode()))
    assert published(packed, "x")["energy_j_per_inf"] == pytest.approx(7200)
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ConfigError, match=r"own.csv.gz: not a CSV file"):
        published(packed, "x")


def test_a_file_may_not_be_a_million_columns_wide(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(f"\n{HEAD}{',a' * 1_000_000}\nx,1,1,500\n")
    with pytest.raises(ConfigError, match=r"own.csv: not a CSV file \(it has 1,000,004 columns, and at most"):
        published(tmp_path / "own.csv", "x")


def test_an_error_does_not_list_a_whole_file(tmp_path: Path) -> None:
    rows = "\n".join(f"{'y' * 100}{k},1,1,1" for k in range(1000))
    (tmp_path / "own.csv").write_text(f"{HEAD}\n{rows}\nz,1,{'n' * 1000},1")
    with pytest.raises(
        ConfigError, match=r"has 0 rows named 'x' \(it has (y{60}, ){9}y{60} and 991 others\)$"
    ):
        published(tmp_path / "own.csv", "x")
    with pytest.raises(ConfigError, match=r"z: carbon_g_per_inf must be a number > 0 \(n{60}\)$"):
        published(tmp_path / "own.csv", "z")


def test_the_papers_configurations_of_a_model() -> None:
    rows = published_configurations("mobilenetv4_conv_small")
    assert [*rows] == ["monolithic", "ce_green"]
    assert rows["ce_green"]["carbon_g_per_inf"] == 0.00105
    assert published_configurations("resnet50") == {}
    assert PUBLISHED.is_file()
