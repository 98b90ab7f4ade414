"""The weights of a file under a model's own names. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pipeline.domain.checks import require
from pipeline.network.models.weight_places import setting

COUNTER = "num_batches_tracked"
"""Part of a batch norm that only training uses; files from before PyTorch 0.4.1 lack it."""


def only_prefix(owner: str, read: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str) -> str:
    """The prefix that a file's keys have, such as `module.` or `backbone.`; empty where there is none.

    Raises ConfigError beginning with owner where two prefixes would do. path: what names the place of the
    keys (see `weight_places.Place`).
    """
    prefixes = _prefixes(read, wanted)
    several = " and ".join(f"{each!r:.60}" for each in prefixes[:2])
    remedy = " or ".join(setting(path + each) for each in prefixes[:2])
    require(len(prefixes) < 2, f"{owner} has two of them, as {several}: set {remedy}")
    return "".join(prefixes)


def _prefixes(read: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """All prefixes below which a file has every weight of the model."""
    needed = _needed(wanted)
    ends = {key.removesuffix(needed[0]) for key in read if key.endswith(needed[0])}
    candidates = sorted(each for each in ends if each == "" or each.endswith((".", "/")))
    return [each for each in candidates if all(each + key in read for key in needed)]


def below(
    owner: str, read: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prefix: str
) -> dict[str, Tensor]:
    """The weights whose keys have a prefix, without it; others are of other parts of a training.

    So are those below a longer prefix that has all weights too. Raises ConfigError beginning with owner where
    no key has it.
    """
    bare = prefix.rstrip("./")
    begins = (f"{bare}.", f"{bare}/") if bare else ("",)
    longer = tuple(each for each in _prefixes(read, wanted) if each.startswith(begins) and each not in begins)
    own = {
        key[len(begins[0]) :]: value
        for key, value in read.items()
        if key.startswith(begins) and not key.startswith(longer)
    }
    first = next(iter(read), None)
    require(
        bool(own), f"{owner} has no keys below {bare!r:.60}, as model.weights_key says (one is {first!r:.60})"
    )
    return own


def by_name(
    owner: str, own: Mapping[str, Tensor], wanted: Mapping[str, Tensor], unused: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """The weights of a file whose keys are the model's.

    wanted: the model's own weights by name, whose counters stand in for missing ones. unused: prefixes of
    keys to ignore where the model does not have them. Raises ConfigError beginning with owner for weights
    that are missing or unknown, and for those of another shape.
    """
    read, needed = own, _needed(wanted)
    own = {key: value for key, value in own.items() if key in wanted or not key.startswith(unused)}
    missing = [key for key in needed if key not in own]
    unknown = [key for key in own if key not in wanted]
    misshapen = [key for key in wanted if key in own and own[key].shape != wanted[key].shape]
    hint = "" if not missing else in_order_hint(read, wanted)
    require(
        not (missing or unknown or misshapen),
        f"{owner} does not fit (missing: {len(missing)}, unknown: {len(unknown)}, of other shape: "
        f"{len(misshapen)}; first: {[*missing, *unknown, *misshapen][:1]!s:.100}){hint}",
    )
    return {**wanted, **own}


def by_order(owner: str, read: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a file whose keys are others than the model's, and in the same order.

    Raises ConfigError beginning with owner unless shapes and last parts of names, as `running_mean`, agree.
    """
    fits = len(read) == len(wanted)
    for key, (other, value) in zip(wanted, read.items(), strict=False):
        fits = fits and value.shape == wanted[key].shape and _part(other) == _part(key)
        require(
            fits,
            f"{owner} does not fit by order ({len(read)} weights for {len(wanted)}; {other:.60} for {key})",
        )
    require(fits, f"{owner} does not fit by order ({len(read)} weights for {len(wanted)})")
    return dict(zip(wanted, read.values(), strict=True))


def in_order_hint(read: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What a person may do where names disagree and shapes do not."""
    if [value.shape for value in read.values()] != [value.shape for value in wanted.values()]:
        return ""
    return (
        "; if its keys are others for the same weights in the same order, set ++model.weights_by_order=true"
    )


def _needed(wanted: Mapping[str, Tensor]) -> list[str]:
    return [key for key in wanted if not _is_counter(key)] or [*wanted]


def _is_counter(key: str) -> bool:
    return _part(key) == COUNTER


def _part(key: str) -> str:
    return key.replace("/", ".").rpartition(".")[2]
