"""YAML of plain values, which may be anybody's: nothing in it is resolved, and its size is limited. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from yaml import CSafeDumper, CSafeLoader

from pipeline.domain.checks import require

MOST_DEPTH = 30
"""Deepest nesting of a stored config; ours have 6."""
MOST_DIGITS = 30
"""Most digits of a whole number."""
MOST_NODES = 500_000
"""Most keys and values of a stored config: those of 13,000 devices."""


class _Loader(CSafeLoader):
    """Plain values as OmegaConf writes and reads them: 1e-3 is a number, and no text is a date."""


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


def _whole(loader: CSafeLoader, node: yaml.ScalarNode) -> int:
    require(len(node.value) <= MOST_DIGITS, f"a number in it has more than {MOST_DIGITS} digits")
    return int(loader.construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)


class _Dumper(CSafeDumper):
    """Writes what `_Loader` reads: texts that look like a number, to either of the two, are quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_theirs, _ours = CSafeDumper.yaml_implicit_resolvers, _Loader.yaml_implicit_resolvers
_Dumper.yaml_implicit_resolvers = {
    first: [*_theirs.get(first, ()), *_ours.get(first, ())] for first in _theirs.keys() | _ours.keys()
}


def dumped(values: Mapping[str, Any]) -> str:
    """Plain values as YAML text, which `parsed` reads back."""
    return str(yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True))


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
