"""The Hydra sweeper plug-in: one sweep, or one for each variant, in one command. Shell."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pipeline.domain.checks import require
from pipeline.results.terminal import terminal
from pipeline.search.reporting.report import print_variants
from pipeline.search.settings import Settings
from pipeline.search.studies.sweep_trial import SweepTrial
from pipeline.search.sweep import Sweep
from pipeline.search.trial_loop import Session

WIDTH = 120
"""Characters in a line of a log file."""


class CarbonEdgeSweeper(Sweeper):
    """Runs the trials of the config's `sweep`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.config: DictConfig = config
        self.hydra_context: HydraContext = hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[SweepTrial]:
        """Run the trials and report their front, once for each variant; returns all trials.

        Raises ConfigError for a bad space or setting, and where all or too many trials of a sweep failed.
        """
        console = terminal()
        if not console.is_terminal:
            console.width = WIDTH
        settings = Settings.of(OmegaConf.to_container(self.config.sweep, resolve=True))
        require(
            not settings.variants or not os.environ.get("MLFLOW_RUN_ID"),
            "sweep.variants: several sweeps need several runs, and `mlflow run` has opened one; "
            "use python -m pipeline",
        )
        tracking = instantiate(self.config.tracking)
        loader = self.hydra_context.config_loader
        session = Session(self.config, loader, self.launcher, tracking, console)
        sweeps = [Sweep(name, one, session, arguments) for name, one in settings.each().items()]
        tracking.check()
        for one in sweeps:
            one.prepare()
        for one in sweeps:
            one.run()
        if settings.variants:
            print_variants(console, {one.name: one.figures for one in sweeps})
        tracking.sync()  # sends the runs that the store did not take while it was unavailable
        console.print(tracking.farewell())
        return [trial for one in sweeps for trial in one.study.trials]
