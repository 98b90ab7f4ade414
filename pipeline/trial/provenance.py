"""The origin of a configuration, as its run keeps it. Shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.tracking.mlflow_run import Run


@dataclass(frozen=True)
class Provenance:
    """The choice in each config group, the whole config, and the overrides of the command line."""

    choices: Mapping[str, str]
    config_yaml: str
    overrides: Sequence[str]
    swept: bool = False
    """Whether the configuration is a trial of a sweep."""

    def varied(self) -> dict[str, str]:
        """The overrides as flat params, without those that configure the sweep or where to log."""
        pairs = [override.lstrip("+~").partition("=") for override in self.overrides]
        about_sweep = ("hydra", "tracking", "sweep", "experiment")
        # MLflow allows no `@` in a param: `model@extra_models.x` becomes `extra_models.x`.
        return {key.rpartition("@")[2]: value for key, _, value in pairs if not key.startswith(about_sweep)}

    def log(self, run: Run) -> None:
        """Write config.yaml and overrides.yaml."""
        run.log_text(self.config_yaml, "config.yaml")
        run.log_text("".join(f"- {override}\n" for override in self.overrides), "overrides.yaml")
