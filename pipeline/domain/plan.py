"""A plan: where a model is cut, which device runs each stage, how tensors are compressed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from pipeline.domain.checks import require

AUTO = "auto"
"""Replaces a device's name: the scheduler chooses a device for every task of the stage."""
COMPRESSIONS = ("float32", "float16", "int8")
"""Formats in which tensors cross between stages: unchanged, halved, or 8-bit integers by channel."""


def require_compression(key: str, value: Any) -> None:
    """Raise ConfigError unless the value is one of COMPRESSIONS."""
    require(value in COMPRESSIONS, f"{key}: must be one of {', '.join(COMPRESSIONS)} ({value!r})")


def _shown(values: object) -> str:
    """Values as text, of which a file may have thousands: the first 200 letters."""
    return str(values) if len(str(values)) <= 200 else f"{str(values)[:200]} ..."


def _whole_numbers(name: str, values: Iterable[Any]) -> tuple[int, ...]:
    """The values as Python's own whole numbers: numpy's count too. Raises ConfigError for others."""
    given = tuple(values) if isinstance(values, Iterable) else (values,)
    whole = all(isinstance(value, Integral) and not isinstance(value, bool) for value in given)
    require(whole, f"{name} must be whole numbers ({name}: {_shown(given)})")
    return tuple(int(value) for value in given)


def _names(values: Iterable[Any]) -> tuple[str, ...]:
    """The devices' names as Python's own texts. Raises ConfigError for others, and for a single text."""
    several = isinstance(values, Iterable) and not isinstance(values, str)
    given = tuple(values) if several else ()
    texts = several and all(isinstance(value, str) for value in given)
    require(texts, f"devices must be a list of names (devices: {_shown(given or values)})")
    return tuple(str(value) for value in given)


@dataclass(frozen=True)
class Plan:
    """Cuts and a device for each stage: stage k is layers[bounds[k]:bounds[k + 1]] on devices[k].

    A device may be AUTO: the scheduler then chooses one for every task of that stage. Raises ConfigError for
    bounds or an order that are not whole numbers, devices that are not names, bounds that do not rise from 0,
    and for devices or an order that do not match them.
    """

    bounds: tuple[int, ...]
    devices: tuple[str, ...]
    order: tuple[int, ...] = ()
    """The order in which the layers run, if it differs from the chain's. `layers` above then means the layers
    in this order, so that a stage can be any set of layers that needs no layer of a later stage."""
    compression: str = COMPRESSIONS[0]
    """Format of the tensors that cross between stages on different devices."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", _whole_numbers("bounds", self.bounds))
        object.__setattr__(self, "devices", _names(self.devices))
        object.__setattr__(self, "order", _whole_numbers("order", self.order))
        rising = all(a < b for a, b in zip(self.bounds, self.bounds[1:], strict=False))
        require(
            len(self.bounds) >= 2 and self.bounds[0] == 0 and rising,
            f"bounds must rise strictly from 0 (bounds: {_shown(self.bounds)})",
        )
        require(
            len(self.devices) == len(self.bounds) - 1,
            f"a plan needs a device (or auto) for each stage (stages: {len(self.bounds) - 1}, "
            f"devices: {_shown(self.devices)})",
        )
        # The numbers of layers first: a file may name a billion.
        whole = len(self.order) == self.bounds[-1] and sorted(self.order) == list(range(self.bounds[-1]))
        require(
            not self.order or whole,
            f"order must hold each of the {self.bounds[-1]} layers once (order: {_shown(self.order)})",
        )
        require_compression("compression", self.compression)

    @property
    def num_stages(self) -> int:
        """Number of stages."""
        return len(self.devices)

    def stage(self, index: int) -> tuple[int, int]:
        """The half-open range of layers of a stage."""
        return self.bounds[index], self.bounds[index + 1]

    def compression_before(self, stage: int) -> str:
        """Format of the tensors that enter a stage.

        The model's input (stage 0), its output (stage num_stages) and tensors that stay on a device are never
        compressed.
        """
        if not 0 < stage < self.num_stages:
            return COMPRESSIONS[0]
        sender, receiver = self.devices[stage - 1 : stage + 1]
        return COMPRESSIONS[0] if sender == receiver != AUTO else self.compression
