"""The Hydra plug-in: variants of a sweep, and an app of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.domain.checks import ConfigError
from tests.conftest import CONF
from tests.search.conftest import Multirun, runs


@pytest.mark.full
def test_variants_are_a_parent_run_each_and_one_table(
    priced: Multirun, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = "{cold: {sampler: random}, warm: {sampler: qmc, warm_start: exact, n_trials: 11}}"
    trials = priced("sweep=pareto", "sweep.n_trials=5", f"+sweep.variants={variants}")
    assert len(trials) == 16
    parents, children = runs(root)
    assert [parent.info.run_name.partition(":")[0] for parent in parents] == ["cold", "warm"]
    assert [parent.data.params["sampler"] for parent in parents] == ["random", "qmc"]
    assert len(children) == 16
    table = capsys.readouterr().out.partition("Variants")[2]
    for parent, name, count in zip(parents, ("cold", "warm"), (5, 11), strict=True):
        regret = parent.data.metrics["regret_to_exact"]
        size = parent.data.metrics["front_size"]
        assert re.search(rf"{name} +│ +{count} │ +{regret:.2%} │ +{size:.0f} ", table)


def test_variants_need_runs_of_their_own(multirun: Multirun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    with pytest.raises(ConfigError, match=r"sweep\.variants: several sweeps need several runs"):
        multirun("+sweep.variants.a.seed=1")


@pytest.mark.full
def test_a_real_app_from_another_directory_sweeps_without_a_flag(root: Path) -> None:
    app = root / "app.py"
    app.write_text(
        "import hydra\n"
        "from pipeline.search import hydra_plugin\n"
        "from tests.search.conftest import task\n"
        "hydra_plugin.register()\n"
        "@hydra.main(version_base='1.3', config_path='conf', config_name='config')\n"
        "def main(cfg): return task(cfg)\n"
        "main()\n"
    )
    (root / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, str(app), f"root={root}", "sweep=pareto", "sweep.n_trials=4"],
        cwd=root / "elsewhere",
        env={"PYTHONPATH": f"{CONF.parent}", "PATH": "/usr/bin:/bin", "HOME": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line[:11] for line in done.stdout.splitlines() if " trials  " in line] == [
        f"{n}/4 trials " for n in range(1, 5)
    ]
    assert "Launching" not in done.stdout
    assert len(runs(root)[1]) == 4
