"""Settings that several partitioners share: the number of stages, flags and the devices to use. Pure."""

from __future__ import annotations

from pipeline.domain.checks import require
from pipeline.planning.problem import Problem


def require_stages(stages: int | None) -> None:
    """Raise ConfigError unless `stages` is null or a whole number >= 1."""
    whole = isinstance(stages, int) and not isinstance(stages, bool)
    require(
        stages is None or (whole and stages >= 1),
        f"partitioner.stages: must be a whole number >= 1, or null (stages: {stages!r})",
    )


def require_flag(name: str, value: bool) -> None:
    """Raise ConfigError unless the value is true or false."""
    require(isinstance(value, bool), f"partitioner.{name}: must be true or false ({name}: {value!r})")


def require_layers(problem: Problem, stages: int) -> None:
    """Raise ConfigError for more stages than the model has layers."""
    num_layers = len(problem.graph)
    require(
        stages <= num_layers,
        f"partitioner.stages: {problem.graph.name} has {num_layers} layers (stages: {stages})",
    )


def first_devices(problem: Problem, stages: int | None) -> list[str]:
    """The names of the fleet's first `stages` devices; for null all of them, but at most one per layer.

    Raises ConfigError for more stages than devices or layers.
    """
    names = list(problem.fleet.by_name)
    count = min(len(names), len(problem.graph)) if stages is None else stages
    require(
        count <= len(names),
        f"partitioner.stages: must lie between 1 and the fleet's {len(names)} devices (stages: {stages})",
    )
    require_layers(problem, count)
    return names[:count]


def local_and_remote(problem: Problem, local: str | None, remote: str | None) -> tuple[str, str | None]:
    """The two devices of a split; the remote one is None if the fleet has a single device.

    local: as given, else the fleet's source, else its `monolithic` device, else its first. remote: as given,
    else the fastest other device, preferring those that are connected to `local`.
    Raises ConfigError for an unknown device, and for the same device twice.
    """
    fleet = problem.fleet
    for key, name in (("local", local), ("remote", remote)):
        if name is not None:
            fleet.require_device(f"partitioner.{key}", name)
    others = [name for name in fleet.by_name if name != remote]
    local = local or next((n for n in (fleet.source, fleet.monolithic) if n in others), None)
    if local is None:
        require(len(others) > 0, f"partitioner.remote: {remote} is the fleet's only device")
        local = others[0]
    require(local != remote, f"partitioner.remote: must not be the local device ({remote})")
    if remote is None and len(fleet.devices) > 1:
        remote = min(
            (name for name in fleet.by_name if name != local),
            key=lambda name: (
                fleet.link(local, name) is None,
                problem.profile.cumulative_s(name)[-1],
            ),
        )
    return local, remote
