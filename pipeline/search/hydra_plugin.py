"""The folder of the config, and the registration of our sweeper and resolver with Hydra. Shell.

Light to import: the sweeper itself is imported when a sweep begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from pipeline.domain.credentials import masked

CONF = Path(__file__).resolve().parents[2] / "conf"
"""The folder of config.yaml and its groups."""


class DelegatingSweeper(Sweeper):
    """Keeps the arguments from Hydra, and passes them on to `CarbonEdgeSweeper`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.context: dict[str, Any] = {
            "hydra_context": hydra_context,
            "task_function": task_function,
            "config": config,
        }

    def sweep(self, arguments: list[str]) -> Sequence[Any]:
        """Run the sweep. Returns its trials (`SweepTrial`); raises as `CarbonEdgeSweeper.sweep` does."""
        from pipeline.search.sweeper import CarbonEdgeSweeper

        sweeper = CarbonEdgeSweeper()
        sweeper.setup(**self.context)
        return sweeper.sweep(arguments)


class MaskedFiles(Callback):
    """Masks the passwords in the configs that Hydra writes into a job's folder before the job begins."""

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra after it has written them."""
        runtime = config.hydra.runtime
        for file in Path(runtime.output_dir, config.hydra.output_subdir or "").glob("*.yaml"):
            text = file.read_text()
            if text != masked(text):
                file.write_text(masked(text))


def register() -> None:
    """Register `hydra/sweeper: carbonedge` and `${device_names:}` with Hydra; call it before `hydra.main`."""
    # Hydra instantiates plug-ins by names with this prefix only, and looks the class up under that name.
    target = "hydra_plugins.carbonedge.CarbonEdgeSweeper"
    Plugins.instance().class_name_to_class[target] = DelegatingSweeper
    ConfigStore.instance().store(group="hydra/sweeper", name="carbonedge", node={"_target_": target})
    OmegaConf.register_new_resolver(
        "device_names", lambda *, _root_: ",".join(_root_.fleet.devices), replace=True
    )
