"""Where in a checkpoint a model's weights are. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipeline.domain.checks import listed, require

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which checkpoints of training programs have a model's weights."""
AVERAGED = re.compile(r"(?:^|[^a-z])(?:ema|swa|avg|averaged?|polyak)(?:[^a-z]|$)", re.IGNORECASE)
"""A key of weights that were averaged over a training: timm's state_dict_ema, torchvision's model_ema."""


@dataclass(frozen=True)
class Place:
    """Weights within a checkpoint."""

    weights: Mapping[Any, Tensor]
    path: str
    """What comes before the prefix in `model.weights_key`, such as `state_dict_ema.`."""
    prefix: str | None
    """The prefix that was asked for, without its point; None where none was."""


def found(owner: str, content: Any, key: str | None) -> Place:
    """The weights that key names, else those under WRAPPERS where no others are beside them.

    key: keys and a prefix of names, joined by points: `state_dict_ema`, `state_dict.teacher`. A point at its
    end stands for names without a prefix; keys that are the only choice may be left out. Raises ConfigError
    beginning with owner where several mappings may be meant, none does, or what is there is no mapping of
    tensors.
    """
    path, rest = "", key
    while isinstance(content, Mapping):
        named = _named(content, rest)
        if named is not None:
            assert rest is not None
            rest = rest[len(named) + 1 :] if rest != named else None
            path, content = f"{path}{named}.", content[named]
            continue
        choices = _choices(content)
        require(
            len(choices) < 2,
            f"{owner} has weights under each of {listed(choices)}: "
            f"set {' or '.join(setting(path + choice) for choice in choices)}",
        )
        if not choices:
            break
        path, content = f"{path}{choices[0]}.", content[choices[0]]
    require(_is_state(content), f"{owner} must hold a state_dict ({_about(content)})")
    return Place(content, path, rest)


def setting(place: str) -> str:
    """The override that names a place, whether the config has the key or not."""
    return f"++model.weights_key={place or '.'}"


def _named(content: Mapping[Any, Any], key: str | None) -> str | None:
    """The longest key of a mapping, of those of mappings, with which a text begins."""
    if key is None:
        return None
    texts = [each for each, value in content.items() if isinstance(each, str) and isinstance(value, Mapping)]
    return max((each for each in texts if f"{key}.".startswith(f"{each}.")), key=len, default=None)


def _choices(content: Mapping[Any, Any]) -> list[str]:
    """The keys of a mapping under which a model's weights may be.

    Beside averaged weights, those under any key are the model's too; else only those under WRAPPERS.
    """
    texts = {key: value for key, value in content.items() if isinstance(key, str)}
    averaged = [
        key
        for key, value in texts.items()
        if AVERAGED.search(key) and _is_nested(value) and _has_tensor(value)
    ]
    usual = [key for key in WRAPPERS if isinstance(texts.get(key), Mapping) and _has_tensor(texts[key])]
    others = [key for key, value in texts.items() if averaged and _is_state(value)]
    return list(dict.fromkeys([*usual, *others, *averaged]))


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(each, Tensor) for each in value.values())
    )


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _has_tensor(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if _is_nested(value) else ()
    return isinstance(value, Tensor) or any(map(_has_tensor, inner))


def _about(content: Any) -> str:
    """What a value is instead of a state_dict, and how to name the one within."""
    if not isinstance(content, Mapping):
        return f"it holds a {type(content).__name__}"
    inner = [
        key
        for key, value in content.items()
        if isinstance(key, str) and _is_nested(value) and _has_tensor(value)
    ]
    remedy = f"; name the one of the weights: {setting(inner[0])}" if inner else ""
    return f"its keys: {listed([f'{key!s:.60}' for key in content])}{remedy}" if content else "it is empty"
