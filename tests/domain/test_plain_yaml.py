"""YAML that may be anybody's is read as plain values, in seconds, and written back to the same."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from pipeline.domain import plain_yaml
from pipeline.domain.checks import ConfigError
from pipeline.domain.plain_yaml import dumped, parsed
from pipeline.tracking.stored import MOST_CONFIG_BYTES
from tests.conftest import ROOT, shipped


@pytest.mark.parametrize("text", ["a: &x [1, 2]\nb: *x", "[1, 2]", "", "a: [b"])
def test_what_is_no_plain_mapping_is_refused(text: str) -> None:
    with pytest.raises((ValueError, yaml.YAMLError)):
        parsed(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [" + "1, " * 2000 + "]", "it holds more than 1000 keys and values"),
        ("".join(f"k{k}: 1\n" for k in range(600)), "it holds more than 1000 keys and values"),
        ("a: " + "[" * 40, "nested more than 30 deep"),
        ("a: 0x" + "f" * 6000, "a number in it has more than 30 digits"),
        ("a: !!int '1" + ":10" * 4000 + "'", "it has YAML tags"),
    ],
)
def test_what_takes_minutes_to_read_is_refused(
    text: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As does a number to the base of 60 with half a million digits."""
    monkeypatch.setattr(plain_yaml, "MOST_NODES", 1000)
    with pytest.raises(ConfigError, match=f"^{complaint}$"):
        parsed(text)


def test_the_limit_leaves_room_for_a_large_fleet() -> None:
    """A fleet of 10,000 devices, each with all that our boards state."""
    text = (ROOT / "conf" / "fleet" / "boards.yaml").read_text()
    num_devices = len(yaml.safe_load(text)["devices"])
    assert sum(1 for _ in yaml.parse(text)) / num_devices * 10_000 < plain_yaml.MOST_NODES
    assert len(text) / num_devices * 10_000 < MOST_CONFIG_BYTES


FILES = shipped()


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_config_is_read_as_it_was_written(file: Path) -> None:
    plain = OmegaConf.to_container(OmegaConf.load(file))
    if isinstance(plain, dict) and plain:
        texts = {str(key): value for key, value in plain.items()}
        assert repr(parsed(OmegaConf.to_yaml(plain))) == repr(texts)
        assert repr(parsed(dumped(texts))) == repr(texts)


def test_texts_and_numbers_are_read_as_they_were_written() -> None:
    texts = "2021-06-01 12:30 1e-3 1e3 0x1f 010 1_000 yes null ~ 1.5e+3 .5 1. .inf .nan 1e 08 0o7 1:2:3.5 - ."
    numbers = [1, 1.5, 1e-9, 1e300, -1e-300, 0.1, math.inf, -5, 10**15, 1e16, True, None, 123456789.123]
    config = {f"k{k}": value for k, value in enumerate([*texts.split(" "), *numbers])}
    assert repr(parsed(OmegaConf.to_yaml(OmegaConf.create(config)))) == repr(config)
    assert repr(parsed(dumped(config))) == repr(config)
    assert parsed("a: 1e-3\nb: {c: [1.5, x]}\n1: null") == {"a": 0.001, "b": {"c": [1.5, "x"]}, "1": None}
