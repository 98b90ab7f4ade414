"""Bad input, as people give it, is one line and exit code 2."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
import yaml
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pipeline.commands.run import main
from pipeline.commands.terminal import error_message
from pipeline.commands.terminal.error_message import complaint
from pipeline.execution.devices.device_error import DeviceError
from tests.commands.conftest import SIMULATED, SMALL, carbonedge, runs
from tests.conftest import CONF


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EROFS, "Read-only file system", "outputs"), "outputs: Read-only file"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "No space left on device; free some space",
        ),
        (OSError(errno.EBADF, "Bad file descriptor"), None),
    ],
)
def test_an_unwritable_place_is_one_line(error: OSError, line: str | None) -> None:
    found = complaint(error)
    assert found is None if line is None else found is not None and found.startswith(line)


BAD = [
    (("model=mobile_net",), ["model", "mobile_net"]),
    (("model=torchvision", "model.name=resnet5"), ["model.name", "resnet5", "resnet50"]),
    (("model.weights=/no/such.pth",), ["model.weights", "/no/such.pth"]),
    (("fleet.devices.node-high.memory_bytes=null",), ["fleet.devices.node-high", "memory_bytes"]),
    (("fleet.devices.node-high.intensity_g_per_kwh=null",), ["fleet.devices.node-high", "zone"]),
    (
        ("fleet.devices.node-high.intensity_g_per_kwh=null", "+fleet.devices.node-high.zone=XX"),
        ["fleet.devices.node-high.zone", "XX"],
    ),
    (("fleet.links.lan.bandwidth_bytes_per_s=-5",), ["fleet.links.lan", "bandwidth_bytes_per_s", "-5"]),
    (("scheduler.carbon_weight=1.5",), ["scheduler.carbon_weight", "[0, 1]", "1.5"]),
    (("partitioner=explicit", "partitioner.cuts=[1.2]"), ["partitioner.cuts.0", "1.2"]),
    (("partitioner.device=node-blue",), ["partitioner.device", "node-blue", "node-high"]),
    (("images=imagefolder", "images.path=."), ["images.path", "no images"]),
    (("action=validate", "validation.requests=1.5"), ["validation.requests", "whole number"]),
    (("backend.warmup=1.5",), ["backend.warmup", "whole number", "1.5"]),
    (("partitioner=exact", "partitioner.objectives=[carbon]"), ["partitioner.objectives", "'carbon'"]),
    (("workload.colour=red",), ["workload.colour"]),
    (("+workload.colour=red",), ["workload", "colour"]),
    (("-m", "scheduler.colour=1,2"), ["scheduler.colour"]),
    (("-m", "scheduler=green,grey"), ["scheduler", "grey"]),
    (("sweep=pareto", "scheduler.carbon_wait=interval(0,1)"), ["carbon_wait"]),
    (("tracking.uri=http://127.0.0.1:9",), ["tracking.uri", "127.0.0.1:9"]),
    (("model.name=",), ["model.name"]),
    (("workload.requests=(",), ["workload.requests"]),
    (("workload.path=My  logs (2).csv",), ["needs quotes: 'workload.path=\"My  logs (2).csv\"'"]),
    (("overrides=workload.requests='3",), ["overrides=workload.requests='3", "No closing quotation"]),
    (("sweep=pareto", "hydra.sweeper.n_trials=4"), ["hydra.sweeper.n_trials", "use sweep.n_trials"]),
    (("sweep=pareto", "sweep.n_trials=abc"), ["sweep.n_trials", "whole number from 1", "'abc'"]),
    (("sweep=pareto", "sweep.seed=x"), ["sweep.seed", "whole number", "'x'"]),
    (
        ("sweep=pareto", "+sweep.conditions={partitioner.cuts.7: {partitioner.stages: [3]}}"),
        ["sweep.conditions.partitioner.cuts.7", "not among the keys that may vary", "partitioner.cuts.1"],
    ),
    (("sweep=pareto", "sweep.enqueue=3"), ["sweep.enqueue", "a list"]),
    (("sweep=pareto", "sweep.params=[1]"), ["sweep.params=[1]"]),
    (("sweep=pareto", "sweep.n_trails=3"), ["sweep.n_trails"]),
    (("sweep=pareto", "partitioner.stages=range(1,3,0)"), ["partitioner.stages", "step must not be 0"]),
    (("sweep=pareto", "scheduler.carbon_weight=interval(0,inf)"), ["carbon_weight", "finite"]),
    (("sweep=pareto", "scheduler.carbon_weight=int(interval(0,inf))"), ["carbon_weight"]),
    (("-m", "scheduler.carbon_weight=range(0,inf,0.5)"), ["carbon_weight", "finite"]),
    (("+model@extra_models.b=resnet50",), ["extra_models.b", "no class", "'resnet50'"]),
    (("+model@extra_models.b=mobilenetv4_conv_small",), ["extra_models.b", "already there", "model"]),
    (("+workload.classes.a.model=resnet5",), ["workload.classes.a.model", "resnet5", "extra_models"]),
    (("per_request=3",), ["per_request", "true or false"]),
    (("per_request=false",), ["per_request", "backend=simulated"]),
    (("+extra_models.x=null",), ["extra_models.x", "must be a model"]),
    (("extra_models=null",), ["extra_models: must map names to models"]),
    (("+workload.classes.a.tenant=null",), ["workload.classes.a.tenant", "must be a name"]),
    (("outages=[{device: [a], at_s: 1}]",), ["outages.0.device", "must be a name"]),
    (
        ("-m", "scheduler=green,fastest", "+sweep.baseline.scheduler=gren"),
        ["sweep.baseline.scheduler", "'gren'"],
    ),
    (("-m", "scheduler=green,fastest", "+sweep.baseline.scheduler=[a]"), ["sweep.baseline.scheduler"]),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other_model = any(argument.startswith("model=") for argument in arguments)
    small = [argument for argument in SMALL if not (other_model and argument.startswith("model"))]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pipeline", *small, *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    errors = capsys.readouterr().err
    assert end.value.code == 2, errors
    assert "Traceback" not in errors
    line = errors.splitlines()[-1]  # lines before it are MLflow's log, as this is not a process of its own
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    if (tmp_path / "mlflow.db").exists():
        assert runs(tmp_path) == []


@pytest.mark.parametrize(
    "arguments", [("-m", "scheduler=green,grey"), ("model.name=",), ("workload.requests=(",)]
)
@pytest.mark.full
def test_bad_input_prints_nothing_else(arguments: tuple[str, ...], tmp_path: Path) -> None:
    outcome = carbonedge(tmp_path, *SMALL, *arguments)
    assert outcome.code == 2
    assert outcome.output == ""
    assert outcome.errors.startswith("error: ")
    assert outcome.errors.count("\n") == 1


def test_a_dead_device_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = RuntimeError("the trial failed")
    error.__cause__ = DeviceError("the process of device node-high has ended (exit code -9)")
    with pytest.raises(SystemExit) as ended:
        error_message.fail(error)
    assert ended.value.code == 1
    expected = "error: the process of device node-high has ended (exit code -9); run again\n"
    assert capsys.readouterr() == ("", expected)


UNKNOWN = "is unknown, perhaps from another version"
TARGETS = [
    ("pipeline.fleet.Fleet.of", f"{UNKNOWN}; here it is pipeline.domain.fleet.Fleet.of"),
    ("pipeline.domain.Fleet.of", f"{UNKNOWN}; here it is pipeline.domain.fleet.Fleet.of"),
    ("pipeline.nowhere.Nothing", f"{UNKNOWN} (No module named 'pipeline.nowhere')"),
    ("pipeline.domain.fleet.Fleet.nothing", f"{UNKNOWN} (type object 'Fleet' has no attribute 'nothing')"),
    ("elsewhere.Fleet.of", f"{UNKNOWN} (No module named 'elsewhere')"),
    ("package.broken.Fleet", "cannot be imported: No module named 'missing_library'"),
]


@pytest.mark.parametrize(("target", "words"), TARGETS, ids=[target for target, _ in TARGETS])
def test_a_target_that_does_not_exist_is_one_line(
    target: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As in the YAML files of a user, or the stored config of a run, that an older version wrote."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "broken.py").write_text("import missing_library")
    (tmp_path / "own" / "fleet").mkdir(parents=True)
    fleet = yaml.safe_load((CONF / "fleet" / "paper.yaml").read_text()) | {"_target_": target}
    (tmp_path / "own" / "fleet" / "old.yaml").write_text(yaml.safe_dump(fleet))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pipeline", "--config-dir", "own", *SIMULATED, "fleet=old"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    errors = capsys.readouterr().err
    assert f"error: fleet: _target_ {target} {words}" in errors
    assert "Traceback" not in errors


FILES = [
    (
        "devices: {}",
        "fleet: must be a mapping with a _target_, as in the files of conf/fleet (it is {'devices': {}})",
    ),
    ("- 1", "fleet: must be a mapping with a _target_, as in the files of conf/fleet (it is [1])"),
    ("devices: [", "not valid YAML: while parsing a flow node expected the node content"),
    ("name: x\nidle_w 5.5\ndevices: {}", "not valid YAML: while scanning a simple key"),
]


@pytest.mark.parametrize(("text", "words"), FILES, ids=[text[:12] for text, _ in FILES])
def test_a_bad_file_of_a_group_is_one_line(
    text: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own" / "fleet").mkdir(parents=True)
    (tmp_path / "own" / "fleet" / "bad.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pipeline", "--config-dir", "own", *SIMULATED, "fleet=bad"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {words}")
    assert errors.count("\n") == 1


def test_the_key_of_a_stored_target_is_named() -> None:
    config = OmegaConf.create({"accounting": {"_target_": "pipeline.ledger.Accounting", "pue": 1}})
    with pytest.raises(InstantiationException) as caught:
        instantiate(config.accounting, _convert_="all")
    assert complaint(caught.value) == (
        "accounting: _target_ pipeline.ledger.Accounting is unknown, perhaps from another version; "
        "here it is pipeline.carbon.accounting.Accounting"
    )


def test_a_mistyped_target_is_not_proposed_as_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("_target_: pipeline.carbon.accounting.Acounting")
    monkeypatch.setattr(error_message, "CONF", tmp_path)
    with pytest.raises(InstantiationException) as caught:
        instantiate({"_target_": "pipeline.carbon.accounting.Acounting"})
    line = complaint(caught.value)
    assert line is not None
    assert "Acounting is unknown" in line
    assert "here it is" not in line


@pytest.mark.full
def test_a_plan_that_does_not_fit_its_device_opens_no_run(tmp_path: Path) -> None:
    outcome = carbonedge(tmp_path, *SMALL, "fleet.devices.node-medium.memory_bytes=1000")
    assert outcome.code == 2
    assert outcome.errors.startswith("error: fleet.devices.node-medium.memory_bytes: the plan needs 15.")
    assert outcome.errors.count("\n") == 1
    assert runs(tmp_path) == []


@pytest.mark.full
def test_a_plan_over_unconnected_devices_opens_no_run(tmp_path: Path) -> None:
    # The explicit partitioner's second stage is on another device, and the only link leads elsewhere.
    outcome = carbonedge(
        tmp_path,
        *SMALL,
        "partitioner=explicit",
        "partitioner.devices=[node-high,node-green]",
        "+fleet.links.lan.between=[node-high,node-medium]",
    )
    assert outcome.code == 2
    assert outcome.errors.startswith("error: fleet.links: node-high and node-green are not connected")
    assert runs(tmp_path) == []
