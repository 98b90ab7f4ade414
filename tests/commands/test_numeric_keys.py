"""Each numeric key of the config with values that cannot be meant: one line, or no infinite figure.

NaN stands for what is unknown.
"""

from __future__ import annotations

import contextlib
import io
import math
import random
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pipeline.commands.terminal import cli
from pipeline.commands.terminal.error_message import complaint
from pipeline.search.jobs import trial_config
from pipeline.search.settings import Settings
from pipeline.trial.perform import perform
from pipeline.trial.provenance import Provenance
from pipeline.trial.trial import Trial
from tests.commands.conftest import SIMULATED, empty_store, store
from tests.conftest import EXHAUSTIVE

VALUES = ("-1", "0", ".nan", ".inf", "-.inf", "1e300", "1e-300", "text", "null", "true", "[1]")
SHORT = ("workload.duration_s=1", "workload.requests=3", "workload.rate_rps=20")
CHOICES: dict[str, Sequence[str]] = {
    "accounting": ("default",),
    "backend": ("simulated",),
    "fleet": ("paper", "boards"),
    "grid": ("static", "synthetic"),
    "meter": ("none", "cpu_time", "codecarbon"),
    "model": ("mobilenetv4_conv_small",),
    "partitioner": (
        "balanced",
        "bottleneck",
        "dads",
        "exact",
        "explicit",
        "green",
        "neurosurgeon",
        "pipeedge",
        "random",
    ),
    "profiler": ("default",),
    "scheduler": ("budget", "constrained", "deferring", "fastest", "green", "normalized", "oracle", "random"),
    "workload": ("bursty", "closed", "diurnal", "poisson"),
}
"""The choices of each group of which a trial consists; of choices with equal keys, some."""
ONCE = ("model.seed", "model.input_size", "profiler.patience_s", "profiler.repeats", "profiler.warmup")
"""Keys on which the profile depends: they are tried by what they build, as a profile takes seconds."""


def numeric(config: Any, key: str) -> Iterator[str]:
    """The keys below a key whose value is a number; of a fleet's devices, and of its links, the first's."""
    if isinstance(config, Mapping):
        named = key.endswith((".devices", ".links"))
        for name in [*config][: 1 if named else None]:
            yield from numeric(config[name], f"{key}.{name}")
    elif isinstance(config, int | float) and not isinstance(config, bool):
        yield key


def cases() -> list[tuple[str, str, str]]:
    """Override of the choice, key, value."""
    found = []
    for group, choices in CHOICES.items():
        for choice in choices:
            composed = cli.config([f"{group}={choice}"])
            plain = OmegaConf.to_container(composed[group], resolve=False)
            found += [(f"{group}={choice}", key, value) for key in numeric(plain, group) for value in VALUES]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("walk")
    (where / "mlflow.db").write_bytes(empty_store().read_bytes())
    return where


def config_of(case: tuple[str, str, str], folder: Path) -> DictConfig:
    choice, key, value = case
    kept = [each for each in SIMULATED if each.partition("=")[0] not in (key, choice.partition("=")[0])]
    short = [each for each in SHORT if choice.startswith("workload") and each.partition("=")[0] != key]
    known = cli.config([choice])
    short = [each for each in short if OmegaConf.select(known, each.partition("=")[0]) is not None]
    return cli.config([*kept, choice, *short, f"++{key}={value}", store(folder)])


def trouble(case: tuple[str, str, str], folder: Path) -> str | None:
    """What is wrong with how a case ends; None: nothing."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError("it takes over 60 s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            trial: Trial = instantiate(trial_config(config_of(case, folder)))
            if case[1] in ONCE:
                return None
            result = perform(trial, Provenance({}, "", []))
    except Exception as error:
        line = complaint(error)
        return f"{type(error).__name__}: {error}" if line is None or "\n" in line else None
    finally:
        signal.alarm(0)
    odd = {key: value for key, value in result.metrics.items() if math.isinf(value)}
    return f"{odd}" if odd else None


SEEDS = 12
"""Samples at full size."""


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, SEEDS + 1))]
)
def test_no_number_is_a_traceback_or_a_figure_that_cannot_be(seed: int, folder: Path) -> None:
    """By seed another sample of the cases; `make exhaustive` tries all."""
    chosen = random.Random(seed).sample(cases(), 6)
    if EXHAUSTIVE and seed > 0:
        chosen = cases()[seed - 1 :: SEEDS]
    assert {case: found for case in chosen if (found := trouble(case, folder))} == {}


@pytest.mark.parametrize("value", VALUES)
def test_the_settings_of_a_sweep_are_checked_too(value: str) -> None:
    plain = OmegaConf.to_container(cli.config([]).sweep, resolve=False)
    odd = []
    for key in numeric(plain, "sweep"):
        try:
            Settings.of(OmegaConf.to_container(cli.config([f"++{key}={value}"]).sweep))
        except Exception as error:
            if complaint(error) is None:
                odd.append(f"{key}: {type(error).__name__} {error}")
    assert odd == []
