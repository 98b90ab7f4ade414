"""What a config that was only read describes: data, and objects of a closed list of our own classes. Shell.

A stored config may be anybody's. So nothing in it is instantiated by name, its interpolations stay text, and
the addresses, folders and names of variables in it are not used.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml
from yaml import CSafeLoader

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
MOST_DEPTH = 30
"""Deepest nesting of a stored config; ours have 6."""
MOST_NODES = 500_000
"""Most keys and values of a stored config: those of 13,000 devices."""
ADDRESSES = ("url", "key_variable", "user_variable", "password_variable", "cache_dir")
"""Keys that say where requests and secrets go, and where answers are kept: never those of a run."""


class _Loader(CSafeLoader):
    """YAML of plain values, as OmegaConf writes and reads it: 1e-3 is a number, and no text is a date."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag.rpartition(":")[2] not in ("timestamp", "int", "float")]
    for first, forms in CSafeLoader.yaml_implicit_resolvers.items()
}
# Without numbers of base 60, which take minutes to read where they are long.
for kind, form in {
    "int": r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)",
    "float": r"[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^({form})$"), [*"-+.0123456789"])


def parsed(text: str) -> dict[str, Any]:
    """The mapping that a stored YAML text holds, of plain values; interpolations are text.

    Raises ValueError or YAMLError for any other text. Aliases are refused, as few lines could stand for
    gigabytes, and so are tags, deep nesting and more than MOST_NODES keys and values.
    """
    depth = 0
    for place, event in enumerate(yaml.parse(text, _Loader)):
        require(place < MOST_NODES, f"it holds more than {MOST_NODES} keys and values")
        require(not isinstance(event, yaml.AliasEvent), "it has YAML aliases")
        require(getattr(event, "tag", None) is None, "it has YAML tags")
        # The stream and the document begin first.
        require(place != 2 or isinstance(event, yaml.MappingStartEvent), "not a mapping")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        require(depth <= MOST_DEPTH, f"nested more than {MOST_DEPTH} deep")
    plain = yaml.load(text, _Loader)
    require(isinstance(plain, dict) and len(plain) > 0, "not a mapping")
    return {str(key): value for key, value in plain.items()}


def rebuilt(config: Mapping[str, Any], group: str, own: Collection[str] = ()) -> Any:
    """The object that a config group of a stored config describes: one of CLASSES.

    own: the group's keys that the reader gave on the command line; of ADDRESSES only these are used, so that
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
    values = {key: value for key, value in values.items() if key in own or key not in ADDRESSES}
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
