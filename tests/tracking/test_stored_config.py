"""A stored config is data: nothing in it runs, reads a variable, or says where a secret goes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.grids.live.electricity_maps import ElectricityMaps
from pipeline.carbon.grids.trace import Trace
from pipeline.domain.checks import ConfigError
from pipeline.tracking import stored_config
from pipeline.tracking.stored import MOST_CONFIG_BYTES
from pipeline.tracking.stored_config import CLASSES, parsed, rebuilt
from tests.conftest import ROOT, configured

TARGET = "pipeline.carbon.accounting.Accounting"


def test_every_choice_of_conf_can_be_rebuilt() -> None:
    for group, names in CLASSES.items():
        targets = {
            yaml.safe_load(file.read_text())["_target_"]
            for file in (ROOT / "conf" / group).glob("*.yaml")
            if "_target_" in file.read_text()
        }
        assert targets == {name.replace(":", ".") for name in names}


def test_it_is_what_hydra_makes_of_the_same_config() -> None:
    text = (ROOT / "conf" / "fleet" / "boards.yaml").read_text()
    assert rebuilt({"fleet": parsed(text)}, "fleet") == configured("fleet", "boards")
    assert rebuilt({"accounting": {"_target_": TARGET, "idle": "none"} | {"idle": "full"}}, "accounting") == (
        Accounting("full")
    )


@pytest.mark.parametrize(
    ("described", "complaint"),
    [
        (
            {"_target_": "torch.utils.collect_env.run", "_args_": ["touch PWNED"]},
            "accounting._target_: 'torch.utils.collect_env.run' is not built from a stored config, only "
            f"{TARGET}",
        ),
        (
            {"_target_": TARGET, "evil": {"_target_": "os.system", "_args_": ["touch PWNED"]}},
            "accounting.evil._target_: must not be in a stored config",
        ),
        ({"_target_": TARGET, "_args_": ["full"]}, "accounting._args_: must not be in a stored config"),
        ({"_target_": TARGET, "_partial_": True}, "accounting._partial_: must not"),
        (
            {"_target_": TARGET, "ranges": {"pue": [{"_target_": "os.abort"}, 1]}},
            "accounting.ranges.pue.0._target_: must not",
        ),
        ({"_target_": TARGET, "evil": 1}, "accounting: unknown key 'evil' .known: idle, "),
        ({"idle": "full"}, "accounting._target_: '' is not built"),
        ({"_target_": {"a": 1}}, "accounting._target_: .* is not built"),
        ("text", "accounting: must be a mapping .it is 'text'."),
        (None, "accounting: must be a mapping"),
        ({"_target_": TARGET, "idle": "${oc.env:HOME}"}, "accounting.idle: must be one of .*oc.env:HOME"),
    ],
)
def test_nothing_else_is_built(described: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=complaint):
        rebuilt({"accounting": described}, "accounting")


def test_interpolations_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    fleet = parsed((ROOT / "conf" / "fleet" / "paper.yaml").read_text().replace("paper", "p"))
    fleet["devices"]["node-high"]["sources"] = {"active_w": "${oc.env:SECRET}"}
    found = rebuilt({"fleet": parsed(yaml.safe_dump(fleet))}, "fleet")
    assert found.by_name["node-high"].sources["active_w"] == "${oc.env:SECRET}"


def test_no_run_says_where_a_key_goes(tmp_path: Path) -> None:
    grid = {
        "_target_": "pipeline.carbon.grids.live.electricity_maps.ElectricityMaps",
        "url": "http://127.0.0.1:7777",
        "key_variable": "AWS_SECRET_ACCESS_KEY",
        "cache_dir": str(tmp_path / "elsewhere"),
        "emission_factor": "direct",
    }
    assert rebuilt({"grid": grid}, "grid") == ElectricityMaps(emission_factor="direct")
    mine = rebuilt({"grid": grid}, "grid", own=["url"])
    assert (mine.url, mine.key_variable) == (grid["url"], "ELECTRICITYMAPS_API_KEY")


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
        ("a: !!int '1" + ":10" * 4000 + "'", "it has YAML tags"),
    ],
)
def test_what_takes_minutes_to_read_is_refused(
    text: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As does a number to the base of 60 with half a million digits."""
    monkeypatch.setattr(stored_config, "MOST_NODES", 1000)
    with pytest.raises(ConfigError, match=f"^{complaint}$"):
        parsed(text)


def test_the_limit_leaves_room_for_a_large_fleet() -> None:
    """A fleet of 10,000 devices, each with all that our boards state."""
    text = (ROOT / "conf" / "fleet" / "boards.yaml").read_text()
    num_devices = len(yaml.safe_load(text)["devices"])
    assert sum(1 for _ in yaml.parse(text)) / num_devices * 10_000 < stored_config.MOST_NODES
    assert len(text) / num_devices * 10_000 < MOST_CONFIG_BYTES


FILES = [*(ROOT / "conf").rglob("*.yaml")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_config_is_read_as_it_was_written(file: Path) -> None:
    plain = OmegaConf.to_container(OmegaConf.load(file))
    if isinstance(plain, dict) and plain:
        texts = {str(key): value for key, value in plain.items()}
        assert repr(parsed(OmegaConf.to_yaml(plain))) == repr(texts)


def test_texts_and_numbers_are_read_as_they_were_written() -> None:
    texts = "2021-06-01 12:30 1e-3 1e3 0x1f 010 1_000 yes null ~ 1.5e+3 .5 1. .inf .nan 1e 08 0o7 1:2:3.5 - ."
    numbers = [1, 1.5, 1e-9, 1e300, -1e-300, 0.1, math.inf, -5, 10**15, 1e16, True, None, 123456789.123]
    config = {f"k{k}": value for k, value in enumerate([*texts.split(" "), *numbers])}
    assert repr(parsed(OmegaConf.to_yaml(OmegaConf.create(config)))) == repr(config)
    assert parsed("a: 1e-3\nb: {c: [1.5, x]}\n1: null") == {"a": 0.001, "b": {"c": [1.5, "x"]}, "1": None}


def test_a_trace_keeps_its_file(tmp_path: Path) -> None:
    """Its path is a run's, as without it nothing could be accounted again; it is only read, as a trace."""
    file = tmp_path / "t.csv"
    file.write_text("zone,utc,g\nDE,2030-01-01T00:00Z,100\nDE,2030-01-01T01:00Z,200\n")
    grid = {"_target_": "pipeline.carbon.grids.trace.Trace", "path": str(file), "column": "g"}
    assert rebuilt({"grid": grid}, "grid") == Trace(str(file), "g")
