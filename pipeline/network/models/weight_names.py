"""The weights of a file under a model's own names. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pipeline.domain.checks import require

COUNTER = "num_batches_tracked"
"""Part of a batch norm that only training uses; files from before PyTorch 0.4.1 lack it."""


def by_name(
    owner: str, read: Mapping[str, Tensor], wanted: Mapping[str, Tensor], unused: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """The weights of a file, without the prefix that its keys have, such as `module.` or `backbone.`.

    wanted: the model's own weights by name, whose counters stand in for missing ones. unused: prefixes of
    keys to ignore where the model does not have them. Keys without the prefix are of other parts of a
    training, and ignored. Raises ConfigError beginning with owner where two prefixes would do, for weights
    that are missing or unknown, and for those of another shape.
    """
    needed = [key for key in wanted if not _is_counter(key)] or [*wanted]
    ends = {key.removesuffix(needed[0]) for key in read if key.endswith(needed[0])}
    candidates = sorted(each for each in ends if each == "" or each.endswith((".", "/")))
    prefixes = [each for each in candidates if all(each + key in read for key in needed)]
    several = " and ".join(f"{each!r:.60}" for each in prefixes[:2])
    require(len(prefixes) < 2, f"{owner} has two of them, as {several}: name one")
    prefix = "".join(prefixes)
    own = {key.removeprefix(prefix): value for key, value in read.items() if key.startswith(prefix)}
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
    return "; if its keys are others for the same weights in the same order, set model.weights_by_order=true"


def _is_counter(key: str) -> bool:
    return _part(key) == COUNTER


def _part(key: str) -> str:
    return key.replace("/", ".").rpartition(".")[2]
