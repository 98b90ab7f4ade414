"""The space of a sweep, in Hydra's override grammar, as grid points or as Optuna distributions. Pure."""

from __future__ import annotations

import itertools
import math
import random
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Self, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer
from hydra.errors import HydraException, OverrideParseException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from pipeline.domain.checks import ConfigError, first_line, require
from pipeline.search.override_text import unreadable

Value = bool | int | float | str
"""A number or bool, else the text after `=` in an override."""
Point = dict[str, Value]
"""A point of the space: a value for each dimension that varies there, by config key."""


@dataclass(frozen=True)
class SearchSpace:
    """The overrides of every job, and those that vary from job to job."""

    fixed: Mapping[str, Override]
    dimensions: Mapping[str, Override]
    conditions: Mapping[str, Mapping[str, Sequence[Value]]] = field(default_factory=dict)
    """Allowed values of other keys, by dimension, which varies only where each such key has one of them."""

    @classmethod
    def parse(
        cls,
        params: Mapping[str, Any],
        arguments: Sequence[str] = (),
        loader: ConfigLoader | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Self:
        """The space of `sweep.params` and the command line, which wins key by key.

        conditions: as in `sweep.conditions`; those of keys that do not vary are ignored. Raises ConfigError
        for a setting of the sweep among the keys that vary, a bad sweep expression, and a bad condition.
        """
        lines = [*_lines(params), *arguments]
        overrides = {_key(override): override for override in _parse(lines, loader)}
        for key, override in overrides.items():
            require(
                not (override.is_sweep_override() and _family(key) == "sweep"),
                f"{override.input_line}: a setting of the sweep cannot vary within it (see sweep.variants)",
            )
        fixed = {key: o for key, o in overrides.items() if not o.is_sweep_override()}
        varied = {key: o for key, o in overrides.items() if o.is_sweep_override()}
        held = {key: _condition(key, of) for key, of in (conditions or {}).items() if key in varied}
        for key, condition in held.items():
            for other in condition:
                require(
                    other in fixed or (other in varied and other not in held),
                    f"sweep.conditions.{key}: {other} must vary without a condition of its own, or be set",
                )
        # Dimensions with a condition are drawn after those without.
        order = sorted(varied, key=lambda key: key in held)
        return cls(fixed, {key: varied[key] for key in order}, held)

    def active(self, key: str, point: Point) -> bool:
        """Whether a dimension varies, given the other values of the point."""
        return all(
            (point[other] if other in point else _values(self.fixed[other])[0]) in allowed
            for other, allowed in self.conditions.get(key, {}).items()
        )

    @property
    def families(self) -> set[str]:
        """The first parts of the keys that vary, such as `partitioner` and `fleet`."""
        return {_family(key) for key in self.dimensions}

    def overrides(self, point: Point) -> list[str]:
        """The overrides of one job."""
        fixed = [str(override.input_line) for override in self.fixed.values()]
        return fixed + [f"{self.dimensions[key].get_key_element()}={value}" for key, value in point.items()]

    def grid(self) -> Iterator[Point]:
        """Every combination of the dimensions' values, the last dimension fastest, each once.

        Raises ConfigError for an interval.
        """
        seen = set()
        for values in _product(self.dimensions):
            point = {key: value for key, value in values.items() if self.active(key, values)}
            if (identity := tuple(point.items())) not in seen:
                seen.add(identity)
                yield point

    def probes(self) -> Iterator[Point]:
        """The fewest points that contain every choice: if these compose, all points do."""
        values = {key: _probe_values(override) for key, override in self.dimensions.items()}
        for index in range(max(map(len, values.values()), default=1)):
            yield {key: column[index % len(column)] for key, column in values.items()}

    def distributions(self) -> dict[str, BaseDistribution]:
        """The dimensions as Optuna samples them. Raises ConfigError for ends that Optuna rejects."""
        return {key: _distribution(override) for key, override in self.dimensions.items()}

    def points(self, owner: str, entry: Mapping[str, Any]) -> list[Point]:
        """The points, which may be partial, of a mapping in the config: every combination of its choices.

        Points outside the space are left out: those with another value than a fixed override has, or outside
        a dimension. Raises ConfigError, naming `owner`, for a key that the sweep does not have.
        """
        overrides = {_key(override): override for override in _parse(_lines(entry))}
        for key in overrides:
            require(
                key in self.fixed or key in self.dimensions,
                f"{owner}: {key!r} is no dimension of the sweep (dimensions: {', '.join(self.dimensions)})",
            )
        return [
            {key: value for key, value in point.items() if key in self.dimensions}
            for point in _product(overrides)
            if all(self._allows(key, value) for key, value in point.items())
        ]

    def _allows(self, key: str, value: Value) -> bool:
        if key in self.fixed:
            return value in _values(self.fixed[key])
        distribution = _distribution(self.dimensions[key])
        if isinstance(distribution, FloatDistribution | IntDistribution):
            if isinstance(value, str) or not distribution.low <= value <= distribution.high:
                return False
            steps = (value - distribution.low) / distribution.step if distribution.step else 0
            return math.isclose(steps, round(steps), abs_tol=1e-8)
        return isinstance(distribution, CategoricalDistribution) and value in distribution.choices


def _lines(entry: Mapping[str, Any]) -> list[str]:
    return [
        f"{key}={value if isinstance(value, str) else Transformer.str(value)}" for key, value in entry.items()
    ]


def _parse(lines: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    parser = OverridesParser.create(config_loader=loader)
    overrides = []
    for line in lines:
        try:
            overrides += parser.parse_overrides([line])
        except OverrideParseException as error:
            raise ConfigError(unreadable(line, error)) from error
        except (HydraException, OverflowError) as error:
            raise ConfigError(f"{line}: {first_line(error)}") from error
        sweep = overrides[-1].value()
        if isinstance(sweep, RangeSweep | IntervalSweep):
            ends = (sweep.start, sweep.stop) if isinstance(sweep, RangeSweep) else (sweep.start, sweep.end)
            require(
                all(end is not None and math.isfinite(end) for end in ends),
                f"{line}: both ends must be finite numbers",
            )
        if isinstance(sweep, RangeSweep):
            require(sweep.step != 0 and math.isfinite(sweep.step), f"{line}: the step must not be 0")
    return overrides


def _condition(key: str, of: Any) -> dict[str, list[Value]]:
    require(
        isinstance(of, dict) and all(isinstance(values, list) for values in of.values()),
        f"sweep.conditions.{key}: must be lists of values by key, as {{partitioner.stages: [3]}} ({of!r})",
    )
    return {other: list(values) for other, values in of.items()}


def _family(key: str) -> str:
    return re.split(r"[./@]", key)[0]


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _product(overrides: Mapping[str, Override]) -> Iterator[Point]:
    for values in itertools.product(*map(_values, overrides.values())):
        yield dict(zip(overrides, values, strict=True))


def _values(override: Override) -> list[Value]:
    """All values of an override: one if it is fixed.

    The order of a shuffle is drawn by the override's own text, so that whoever resumes the sweep has it too;
    Hydra draws another each time.
    """
    require(
        not override.is_interval_sweep(),
        f"{override.input_line}: a grid cannot enumerate an interval; "
        "use choice() or range(), or a sampler (sweep.sampler=tpe)",
    )
    sweep, shuffled = override.value(), False
    if isinstance(sweep, ChoiceSweep | RangeSweep) and sweep.shuffle:
        override, shuffled = replace(override, _value=replace(sweep, shuffle=False)), True
    raw: Iterable[Any] = [override._value]
    if isinstance(sweep, RangeSweep):
        raw = _numbers(sweep)
    elif override.is_sweep_override():
        raw = override.sweep_iterator()
    values: list[Value] = [v if isinstance(v, bool | int | float) else Transformer.str(v) for v in raw]
    if shuffled:
        random.Random(override.input_line).shuffle(values)
    require(len(values) > 0, f"{override.input_line}: holds no value")
    return values


def _numbers(sweep: RangeSweep) -> Sequence[int | float]:
    """The numbers of a range, which ends before its stop: 0.1, 0.2, 0.3 of range(0.1,0.4,0.1).

    Hydra adds up floats, and has 0.30000000000000004 and 0.4 too.
    """
    ends = sweep.start, sweep.stop, sweep.step
    start, stop, step = (Fraction(str(end)) for end in ends)  # as they were written
    count = max(0, math.ceil((stop - start) / step))
    kind = int if all(isinstance(end, int) for end in ends) else float
    return [kind(start + index * step) for index in range(count)]


def on_step(distribution: BaseDistribution, drawn: Value) -> Value:
    """A value that Optuna has drawn, as the number of the range: 0.9 where it computed 3 * 0.3 in floats."""
    if not isinstance(distribution, FloatDistribution) or distribution.step is None:
        return drawn
    low, step = Fraction(str(distribution.low)), Fraction(str(distribution.step))
    return float(low + round((Fraction(drawn) - low) / step) * step)


def _probe_values(override: Override) -> list[Value]:
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None
        return [sweep.start]
    return _values(override)[:1] if isinstance(sweep, RangeSweep) else _values(override)


def _distribution(override: Override) -> BaseDistribution:
    """Ints stay ints; both ends of an interval belong to it; a range ends before its stop, as in Python."""
    sweep = override.value()
    values: Sequence[Any]
    if isinstance(sweep, IntervalSweep):
        values, step = [sweep.start, sweep.end], {}
    elif isinstance(sweep, RangeSweep):
        values, step = sorted(_values(override)), {"step": abs(sweep.step)}
    else:
        return CategoricalDistribution(_values(override))
    kind: Any = IntDistribution if isinstance(values[0], int) else FloatDistribution
    try:
        with warnings.catch_warnings(action="ignore"):
            made = cast(BaseDistribution, kind(values[0], values[-1], log="log" in sweep.tags, **step))
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: {error}") from error
    # By Optuna's decimals, the last of numbers with 16 digits may not lie on a step; it would be left out.
    whole = isinstance(sweep, IntervalSweep) or getattr(made, "high", None) == values[-1]
    require(whole, f"{override.input_line}: its numbers have too many digits for a study")
    return made
