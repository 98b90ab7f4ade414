"""What a config that was only read describes: data, and objects of a closed list of our own classes. Shell.

A stored config may be anybody's. So nothing in it is instantiated by name, its interpolations stay text, and
the addresses, folders and names of variables in it are not used.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pipeline.domain.checks import ConfigError, one_line, require

CLASSES = {
    "model": ("pipeline.network.models.spec:ModelSpec",),
    "fleet": ("pipeline.domain.fleet:Fleet.of",),
    "accounting": ("pipeline.carbon.accounting:Accounting",),
    "grid": (
        "pipeline.carbon.grids.static:Static",
        "pipeline.carbon.grids.synthetic:Synthetic",
        "pipeline.carbon.grids.trace:Trace",
        "pipeline.carbon.grids.live.electricity_maps:ElectricityMaps",
        "pipeline.carbon.grids.live.uk:UK",
        "pipeline.carbon.grids.live.watttime:WattTime",
    ),
}
"""What may be built from a stored config, by config group."""
READERS = ("url", "key_variable", "user_variable", "password_variable", "cache_dir", "most_bytes")
"""Keys that say where requests and secrets go, where answers are kept, and how much may be read: never those
of a run."""


def rebuilt(config: Mapping[str, Any], group: str, own: Collection[str] = ()) -> Any:
    """The object that a config group of a stored config describes: one of CLASSES.

    own: the group's keys that the reader gave on the command line; of READERS only these are used, so that
    others have their defaults. Raises ConfigError naming the key that is unknown, missing or bad.
    """
    described = config.get(group)
    require(isinstance(described, Mapping), f"{group}: must be a mapping (it is {described!r:.60})")
    assert isinstance(described, Mapping)
    values = {str(key): value for key, value in described.items()}
    target = str(values.pop("_target_", ""))
    known = {name.replace(":", "."): name for name in CLASSES[group]}
    require(
        target in known,
        f"{group}._target_: {target!r} is not built from a stored config, only {' or '.join(known)}",
    )
    for key in _hydra_keys(group, values):
        raise ConfigError(f"{key}: must not be in a stored config")
    values = {key: value for key, value in values.items() if key in own or key not in READERS}
    make = pkgutil.resolve_name(known[target])
    parameters = inspect.signature(make).parameters
    if all(each.kind is not each.VAR_KEYWORD for each in parameters.values()):
        for unknown in values.keys() - parameters.keys():
            raise ConfigError(f"{group}: unknown key {unknown!r} (known: {', '.join(parameters)})")
    try:
        return make(**values)
    except TypeError as error:
        raise ConfigError(f"{group}: {one_line(error)}") from error


def _hydra_keys(owner: str, value: Any) -> Iterator[str]:
    """The keys in a value that Hydra would obey, such as _target_."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if str(key) in ("_target_", "_args_", "_partial_", "_recursive_", "_convert_"):
                yield f"{owner}.{key}"
            yield from _hydra_keys(f"{owner}.{key}", inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _hydra_keys(f"{owner}.{index}", inner)
