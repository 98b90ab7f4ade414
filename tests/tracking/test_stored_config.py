"""A stored config is data: nothing in it runs, reads a variable, or says where a secret goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.grids.live.electricity_maps import ElectricityMaps
from pipeline.carbon.grids.trace import Trace
from pipeline.domain.checks import ConfigError
from pipeline.domain.plain_yaml import parsed
from pipeline.tracking.stored_config import CLASSES, rebuilt
from tests.conftest import ROOT, configured, shipped

TARGET = "pipeline.carbon.accounting.Accounting"


def test_every_choice_of_conf_can_be_rebuilt() -> None:
    for group, names in CLASSES.items():
        targets = {
            yaml.safe_load(file.read_text())["_target_"]
            for file in shipped(group)
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


def test_a_trace_keeps_its_file(tmp_path: Path) -> None:
    """Its path is a run's, as without it nothing could be accounted again; it is only read, as a trace."""
    file = tmp_path / "t.csv"
    file.write_text("zone,utc,g\nDE,2030-01-01T00:00Z,100\nDE,2030-01-01T01:00Z,200\n")
    grid = {"_target_": "pipeline.carbon.grids.trace.Trace", "path": str(file), "column": "g"}
    assert rebuilt({"grid": grid}, "grid") == Trace(str(file), "g")
    # How much may be read is the reader's to say.
    assert rebuilt({"grid": {**grid, "most_bytes": 6_000_000_000}}, "grid") == Trace(str(file), "g")
