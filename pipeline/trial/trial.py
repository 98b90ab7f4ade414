"""One configuration, checked. conf/config.yaml is the constructor call of `Trial`. Shell: it may measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime

from pipeline.carbon.accounting import Accounting
from pipeline.carbon.grid import Grid, require_average
from pipeline.carbon.intensity import Intensity
from pipeline.carbon.meters.reading import Meter
from pipeline.domain.checks import require, require_mapping, require_seed, utc
from pipeline.domain.fleet import Fleet
from pipeline.domain.plan import COMPRESSIONS, require_compression
from pipeline.execution.backend import Backend
from pipeline.execution.devices.profiler import Profiler
from pipeline.execution.job import Outage
from pipeline.execution.scheduler import Scheduler
from pipeline.execution.workloads.workload import Workload
from pipeline.network.images import Images
from pipeline.network.models.spec import ModelSpec
from pipeline.planning.problem import DeviceNamingPartitioner, Partitioner, Problem
from pipeline.results.validation import Validation
from pipeline.tracking.tracking import Tracking
from pipeline.trial.built_models import built

ACTIONS = ("run", "profile", "validate")


@dataclass(frozen=True)
class Trial:
    """A configuration: a model, how it is cut, placed and run on a fleet, and how the run is accounted.

    Raises ConfigError naming the key that has a bad value.
    """

    model: ModelSpec
    fleet: Fleet
    grid: Grid
    workload: Workload
    images: Images
    partitioner: Partitioner
    scheduler: Scheduler
    backend: Backend
    profiler: Profiler
    accounting: Accounting
    meter: Meter
    tracking: Tracking
    compression: str = COMPRESSIONS[0]
    """Format of the tensors that cross between devices: one of COMPRESSIONS."""
    action: str = "run"
    """One of ACTIONS. run: run the plan. profile: measure the profile (or read the kept one) and log it.
    validate: run random plans instead, and log how far predictions are from measurements."""
    validation: Validation = field(default_factory=Validation)
    plan: str | None = None
    """A file with the plan to run instead of the partitioner's: the plan.json of a run."""
    start_utc: str | None = None
    """When the run takes place, for grids that vary, as in 2021-06-01T00:00; None: now."""
    oracle: bool = False
    """Whether to compare the run with the best schedule in hindsight, which may take minutes."""
    outages: tuple[Outage, ...] = ()
    """Devices that fail for a while; in the config a list of {device, at_s, duration_s}."""
    extra_models: Mapping[str, ModelSpec] = field(default_factory=dict)
    """Models, by any name, that share the fleet with `model`; classes of requests select them."""
    repeat: int = 0
    """The number of the repetition: trials that differ only in it have the same configuration."""
    per_request: bool = True
    """Whether records and ledger of each request are kept and logged; if not, memory is bounded."""

    def __post_init__(self) -> None:
        self._require_targets()
        require(self.action in ACTIONS, f"action: must be one of {', '.join(ACTIONS)} ({self.action!r})")
        require_compression("compression", self.compression)
        require(isinstance(self.oracle, bool), f"oracle: must be true or false ({self.oracle!r})")
        require(
            isinstance(self.per_request, bool), f"per_request: must be true or false ({self.per_request!r})"
        )
        require(
            self.per_request or not self.backend.computes,
            "per_request: a run that computes checks each answer; only backend=simulated can do without",
        )
        require(
            self.per_request or not self.oracle,
            "oracle: it needs the records of each request (oracle: true, per_request: false)",
        )
        require(
            self.plan is None or isinstance(self.plan, str),
            f"plan: must be a file's path (it is {self.plan!r})",
        )
        require(
            self.plan is None or not self.extra_models,
            "plan: several models share the fleet, and a plan file has the plan of one",
        )
        require_average(self.grid)
        require_seed("config", self.repeat, "repeat")
        self.begin_utc()
        if (
            self.action == "run"
            and self.plan is None
            and isinstance(self.partitioner, DeviceNamingPartitioner)
        ):
            self.partitioner.require_devices(self.fleet)
        object.__setattr__(self, "outages", Outage.all(self.outages, self.fleet))
        self._require_models_asked_for()

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """The config's own, and those that share the fleet with it."""
        return (self.model, *self.extra_models.values())

    def _require_targets(self) -> None:
        """Raise ConfigError if a part is still text, a mapping or a list: its config names no class."""
        for part in fields(self):
            value = getattr(self, part.name)
            is_part = part.default is MISSING and part.default_factory is MISSING
            require(
                not is_part or not isinstance(value, Mapping | Sequence),
                f"{part.name}: must be a mapping with a _target_, as in the files of conf/{part.name} "
                f"(it is {value!r:.60})",
            )

    def _require_models_asked_for(self) -> None:
        require_mapping("extra_models", self.extra_models, "names to models")
        known = {self.model.name: "model"}
        asked = {each.model for each in self.workload.classes}
        for key, spec in self.extra_models.items():
            owner = f"extra_models.{key}"
            require(isinstance(spec, ModelSpec), f"{owner}: must be a model, as by +model@{owner}=resnet50")
            require(
                spec.name not in known, f"{owner}: {spec.name!r} is already there ({known.get(spec.name)})"
            )
            known[spec.name] = owner
            require(
                spec.name in asked or self.action != "run",
                f"{owner}: no class of requests selects {spec.name!r} (workload.classes.NAME.model)",
            )
        for each in self.workload.classes:
            require(
                each.model is None or each.model in known,
                f"workload.classes.{each.name}.model: unknown model {each.model!r} (the run has "
                f"{', '.join(known)}; add more by +model@extra_models.NAME=CHOICE)",
            )

    def begin_utc(self) -> datetime:
        """When the run takes place. Raises ConfigError for a `start_utc` that is not a valid UTC time."""
        return datetime.now(UTC) if self.start_utc is None else utc("start_utc", self.start_utc)

    def problem(self, intensity: Intensity | None = None, spec: ModelSpec | None = None) -> Problem:
        """The input of a partitioner for a model: the config's own, unless `spec` is given.

        The profile is measured where none is kept. intensity: of the fleet over the run; None: at its start.
        """
        spec = spec or self.model
        intensity = intensity or Intensity.of(self.fleet, self.grid, self.begin_utc())
        _, graph = built(spec, self.models)
        profile = self.profiler.profile(spec, graph, self.fleet)
        rules = self.accounting.idle, self.accounting.reserved
        return Problem(graph, self.fleet, profile, intensity.at(0.0), self.compression, *rules)
