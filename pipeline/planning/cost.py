"""Plan x Profile x Fleet -> latency, period, energy, bytes, carbon, memory. Pure; vectorised over plans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.carbon.accounting import counted_idle_w
from pipeline.domain.checks import ConfigError, require
from pipeline.domain.energy import LINK_PUE, carbon_g, embodied_g, stage_energy_j
from pipeline.domain.fleet import Link
from pipeline.domain.plan import AUTO, Plan
from pipeline.network.compression import compressed_bytes
from pipeline.planning.memory import needed_bytes
from pipeline.planning.problem import Problem
from pipeline.planning.stage_times import StageTimes

Floats = npt.NDArray[np.float64]

Ints = npt.NDArray[np.int64]

NOWHERE = -1
"""Source of requests that arrive at the device of their first stage: their input costs nothing to fetch."""
CHUNK_CELLS = 4_000_000
"""Most plans x devices^2 evaluated at once, to bound memory."""


@dataclass(frozen=True)
class Cost:
    """Predicted cost of one request alone in the fleet. Each array is (plans,).

    Energy and carbon follow the ledger's rules (`Accounting`). Embodied carbon counts if it is known for
    every device, the network's energy if it is known for every link.
    """

    latency_s: Floats
    period_s: Floats
    """Least seconds between the answers to two pipelined requests: the time of the busiest device or link."""
    energy_j: Floats
    dynamic_j: Floats
    idle_j: Floats
    carbon_g: Floats
    transfer_bytes: Floats

    def columns(self, names: Sequence[str]) -> Floats:
        """(plans, names): the named fields as columns."""
        return np.stack([getattr(self, name) for name in names], axis=1)


@dataclass(frozen=True, eq=False)
class Tables:
    """A problem as arrays, for D devices in the fleet's order, L layers and L + 1 cuts.

    Every figure of a plan is a sum of their entries (`period_s`: a maximum of sums).
    """

    names: tuple[str, ...]
    times: StageTimes
    sent_bytes: Floats
    """(L + 1,): bytes that cross at a cut, compressed inside the model."""
    link_latency_s: Floats
    """(D, D) by sender and receiver, as all `link_...` arrays; 0 on the diagonal, infinite without a link."""
    link_s_per_byte: Floats
    link_j_per_byte: Floats
    link_g_per_byte: Floats
    dynamic_w: Floats
    """(D,): power above idle of a busy device."""
    busy_idle_w: Floats
    """(D,): idle power that counts while a device is busy."""
    held_w: Floats
    """(D,): idle power that counts from a request's arrival to its answer, for each device of its plan."""
    g_per_j: Floats
    """(D,): carbon of a joule on the device, PUE included."""
    held_g_per_s: Floats
    """(D,): carbon of `held_w` and of the device's manufacture, per second that a plan holds the device."""
    memory_bytes: Floats
    """(D,): memory of the device."""
    source: int
    """Index of the device at which requests arrive, or NOWHERE."""
    param_bytes: Floats = field(repr=False)
    """(L + 1, L + 1) by [b, e]: bytes of the parameters of layers[b:e]."""
    peak_bytes: Floats = field(repr=False)
    """(L + 1, L + 1) by [b, e]: most bytes of activations alive at once in layers[b:e]."""
    fleet_w: float = 0.0
    """Idle power that counts from arrival to answer in every plan, if the whole fleet is reserved."""
    fleet_g_per_s: float = 0.0
    """Carbon of `fleet_w` and of the whole fleet's manufacture, per second from arrival to answer."""

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """The arrays of a problem, under its compression and its accounting of idle power.

        Raises ConfigError where the profile lacks a codec that the compression needs.
        """
        graph, fleet = problem.graph, problem.fleet
        names = tuple(fleet.by_name)
        sent = np.array([cut.num_bytes for cut in graph.cuts], dtype=float)
        sent[1:-1] = [compressed_bytes(cut.tensors, problem.compression) for cut in graph.cuts[1:-1]]
        idle_w = np.array([device.idle_w for device in fleet.devices])
        g_per_kwh = np.array([problem.intensity_g_per_kwh[device.name] for device in fleet.devices])
        g_per_j = carbon_g(np.ones(len(names)), g_per_kwh, np.array([d.pue for d in fleet.devices]))
        end_g_per_j = carbon_g(np.ones(len(names)), g_per_kwh, np.full(len(names), LINK_PUE))
        busy_idle_w, held_w = counted_idle_w(idle_w, problem.idle)
        held_g_per_s = held_w * g_per_j + _embodied_g_per_s(problem)
        by_plan, always = (0.0, 1.0) if problem.reserved == "fleet" else (1.0, 0.0)
        latency, s_per_byte, j_per_byte, end_j_per_byte = _links(problem, names)
        return cls(
            names=names,
            times=StageTimes.of(problem),
            sent_bytes=sent,
            link_latency_s=latency,
            link_s_per_byte=s_per_byte,
            link_j_per_byte=j_per_byte,
            link_g_per_byte=end_j_per_byte * (end_g_per_j[:, None] + end_g_per_j[None, :]),
            dynamic_w=np.array([device.above_idle_w for device in fleet.devices]),
            busy_idle_w=busy_idle_w,
            held_w=by_plan * held_w,
            g_per_j=g_per_j,
            held_g_per_s=by_plan * held_g_per_s,
            memory_bytes=np.array([device.memory_bytes for device in fleet.devices]),
            source=NOWHERE if fleet.source is None else names.index(fleet.source),
            param_bytes=graph.stage_param_bytes_table(),
            peak_bytes=graph.stage_peak_bytes_table(),
            fleet_w=always * float(held_w.sum()),
            fleet_g_per_s=always * float(held_g_per_s.sum()),
        )

    @property
    def stage_bytes(self) -> Floats:
        """(L + 1, L + 1) by [b, e]: bytes that a device needs to hold layers[b:e] and nothing else."""
        return needed_bytes(self.param_bytes, self.peak_bytes)

    @property
    def sending_s(self) -> Floats:
        """(L + 1, D, D) by cut, sender and receiver: seconds for which a cut's tensors occupy their link.

        Infinite without a link. The latency of a link is no part of it: meanwhile it carries other tensors.
        """
        seconds = self.sent_bytes[:, None, None] * self.link_s_per_byte
        return np.where(np.isfinite(self.link_latency_s), seconds, np.inf)

    @property
    def num_layers(self) -> int:
        """Number of layers, L."""
        return int(self.times.layers_s.shape[1]) - 1

    def cost(self, bounds: Ints, where: Ints) -> Cost:
        """Cost of many plans, given as bounds (plans, stages + 1) and device indices (plans, stages).

        A plan of fewer stages repeats L at the end of its bounds; the devices of those empty stages do not
        matter. The latency is infinite if two devices are not connected.
        """
        step = max(1, CHUNK_CELLS // len(self.names) ** 2)
        starts = range(0, max(1, len(bounds)), step)
        with np.errstate(invalid="ignore"):  # an infinite latency times no power
            chunks = [self._cost(bounds[i : i + step], where[i : i + step]) for i in starts]
        return Cost(*(np.concatenate([getattr(c, f.name) for c in chunks]) for f in fields(Cost)))

    def loads(self, bounds: Ints, where: Ints) -> tuple[Floats, Floats]:
        """(plans, D) and (plans, D, D) by sender and receiver: seconds that a request keeps each one busy.

        A device or a link that a plan uses several times is busy for the sum. Same arguments as `cost`.
        """
        return self._loads(where, self._steps(bounds, where))

    def _loads(self, where: Ints, steps: _Steps) -> tuple[Floats, Floats]:
        rows, devices = len(where), len(self.names)
        row = np.arange(rows)[:, None]
        on_device = (row * devices + where).ravel()
        on_link = (row * devices + steps.sender) * devices + where
        load_s = np.bincount(on_device, steps.busy_s.ravel(), rows * devices)
        traffic_s = np.bincount(on_link[steps.moves], steps.sending_s[steps.moves], rows * devices**2)
        return (
            np.asarray(load_s.reshape(rows, devices), dtype=float),
            np.asarray(traffic_s.reshape(rows, devices, devices), dtype=float),
        )

    def _steps(self, bounds: Ints, where: Ints) -> _Steps:
        rows = len(bounds)
        begin, end = bounds[:, :-1], bounds[:, 1:]
        real = end > begin
        sender = np.concatenate([np.full((rows, 1), self.source), where[:, :-1]], axis=1)
        moves = real & (sender != where) & (sender != NOWHERE)
        inner = moves & (begin > 0)
        # The sender encodes, so encoding counts for the stage that the tensors leave.
        leaves = np.zeros_like(inner)
        leaves[:, :-1] = inner[:, 1:]
        busy_s = np.where(real, self.times.seconds(where, begin, end, decodes=inner, encodes=leaves), 0.0)
        moved = np.where(moves, self.sent_bytes[begin], 0.0)
        sending_s = np.where(moves, self.sending_s[begin, sender, where], 0.0)
        travel_s = np.where(moves, self.link_latency_s[sender, where], 0.0) + sending_s
        return _Steps(real, sender, moves, busy_s, moved, sending_s, travel_s)

    def _cost(self, bounds: Ints, where: Ints) -> Cost:
        rows, devices = len(bounds), len(self.names)
        steps = self._steps(bounds, where)
        real, sender, busy_s, moved = steps.real, steps.sender, steps.busy_s, steps.moved
        latency_s = (steps.travel_s + busy_s).sum(axis=1)
        load_s, traffic_s = self._loads(where, steps)
        on_device = np.arange(rows)[:, None] * devices + where
        held = np.bincount(on_device.ravel(), real.ravel(), rows * devices).reshape(rows, devices) > 0

        link_j = moved * self.link_j_per_byte[sender, where]
        dynamic_j = (stage_energy_j(busy_s, self.dynamic_w[where]) + link_j).sum(axis=1)
        idle_j = stage_energy_j(busy_s, self.busy_idle_w[where]).sum(axis=1)
        idle_j = idle_j + (held @ self.held_w + self.fleet_w) * latency_s
        busy_g_per_s = (self.dynamic_w + self.busy_idle_w) * self.g_per_j
        link_g = moved * self.link_g_per_byte[sender, where]
        return Cost(
            latency_s=latency_s,
            period_s=np.maximum(load_s.max(axis=1), traffic_s.max(axis=(1, 2))),
            energy_j=dynamic_j + idle_j,
            dynamic_j=dynamic_j,
            idle_j=idle_j,
            carbon_g=(busy_s * busy_g_per_s[where] + link_g).sum(axis=1)
            + (held @ self.held_g_per_s + self.fleet_g_per_s) * latency_s,
            transfer_bytes=moved.sum(axis=1),
        )

    def memory_need_bytes(self, bounds: Ints, where: Ints) -> Floats:
        """(plans, D): bytes of memory that a plan needs on each device; same arguments as `cost`."""
        rows, devices = len(bounds), len(self.names)
        begin, end = bounds[:, :-1], bounds[:, 1:]
        place = (np.arange(rows)[:, None] * devices + where).ravel()
        held: Floats = np.bincount(place, self.param_bytes[begin, end].ravel(), rows * devices).astype(float)
        peak = np.zeros(rows * devices)
        np.maximum.at(peak, place, self.peak_bytes[begin, end].ravel())
        return needed_bytes(held, peak).reshape(rows, devices)


@dataclass(frozen=True, eq=False)
class _Steps:
    """The stages of many plans, each array (plans, stages); an empty stage is not real and takes no time."""

    real: npt.NDArray[np.bool_]
    sender: Ints
    moves: npt.NDArray[np.bool_]
    """Whether the stage's input comes from another device."""
    busy_s: Floats
    moved: Floats
    """Bytes that the stage receives from another device."""
    sending_s: Floats
    """Seconds for which they occupy the link."""
    travel_s: Floats
    """Seconds until they have arrived."""


def predict(problem: Problem, plans: Sequence[Plan]) -> Cost:
    """Cost of placed plans, each under its own compression and order.

    latency = sum over stages of (transfer to the stage's device + the stage's time there)
    Each array is (plans,). Raises ConfigError for a stage on auto, and for devices that are not connected.
    """
    alike: dict[tuple[tuple[int, ...], str], list[int]] = defaultdict(list)
    for index, plan in enumerate(plans):
        require(AUTO not in plan.devices, f"cost: every stage needs a device (devices: {plan.devices})")
        alike[plan.order, plan.compression].append(index)
    found: dict[str, Floats] = {f.name: np.empty(len(plans)) for f in fields(Cost)}
    for (_, compression), group in alike.items():
        own = replace(problem.along(plans[group[0]]), compression=compression)
        tables = Tables.of(own)
        cost = tables.cost(*arrays(tables, [plans[index] for index in group]))
        for index, latency_s in zip(group, cost.latency_s, strict=True):
            if not np.isfinite(latency_s):
                require_connected(problem, plans[index])
        for name, values in found.items():
            values[group] = getattr(cost, name)
    return Cost(**found)


def arrays(tables: Tables, plans: Sequence[Plan]) -> tuple[Ints, Ints]:
    """Plans as bounds (plans, stages + 1) and device indices (plans, stages), for `Tables.cost`."""
    stages = max(plan.num_stages for plan in plans)
    index = {name: i for i, name in enumerate(tables.names)}
    bounds = [plan.bounds + (tables.num_layers,) * (stages - plan.num_stages) for plan in plans]
    where = [[index[d] for d in p.devices] + [0] * (stages - p.num_stages) for p in plans]
    return np.array(bounds), np.array(where)


def require_connected(problem: Problem, plan: Plan) -> None:
    """Raise ConfigError naming the devices if a plan needs a transfer between two that are not connected."""
    places = [problem.fleet.source, *plan.devices]
    for stage, (sender, receiver) in enumerate(pairwise(places)):
        connected = sender in (None, AUTO, receiver) or receiver == AUTO
        if not connected and problem.fleet.link(str(sender), str(receiver)) is None:
            raise ConfigError(
                f"fleet.links: {sender} and {receiver} are not connected, and stage {stage} needs them to be"
            )


def _links(problem: Problem, names: Sequence[str]) -> tuple[Floats, Floats, Floats, Floats]:
    """Latency, seconds per byte, J per byte, and J per byte at each end: (D, D) by sender and receiver.

    All energies are 0 unless that of every link is known, as the ledger then leaves the network out.
    """
    fleet, places = problem.fleet, {name: place for place, name in enumerate(names)}
    tables = [np.full((len(names), len(names)), figure) for figure in _figures(fleet.shared_link)]
    for link in fleet.links:
        ends = [places[end] for end in link.between or () if end in places]
        for table, figure in zip(tables, _figures(link), strict=True) if len(ends) == 2 else ():
            table[ends, ends[::-1]] = figure
    for table in tables:
        np.fill_diagonal(table, 0.0)
    latency, s_per_byte, *energies = tables
    known = all(link.energy_j_per_byte is not None for link in fleet.links)
    j_per_byte, end_j_per_byte = (known * energy for energy in energies)
    return latency, s_per_byte, j_per_byte, end_j_per_byte


def _figures(link: Link | None) -> tuple[float, float, float, float]:
    """Latency, seconds per byte, J per byte, and J per byte at each end, of one link; None: no link."""
    if link is None:
        return np.inf, 0.0, 0.0, 0.0
    return (
        link.latency_s,
        1 / link.bandwidth_bytes_per_s,
        link.energy_j_per_byte or 0.0,
        link.end_j_per_byte or 0.0,
    )


def _embodied_g_per_s(problem: Problem) -> Floats:
    """(D,): grams of embodied carbon per second of lifetime; 0 unless both are known for every device."""
    devices = problem.fleet.devices
    rates = [
        embodied_g(d.embodied_kg, d.lifetime_years, 1.0)
        for d in devices
        if d.embodied_kg is not None and d.lifetime_years is not None
    ]
    return np.array(rates) if len(rates) == len(devices) else np.zeros(len(devices))
