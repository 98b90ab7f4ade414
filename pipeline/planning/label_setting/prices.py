"""The cost in each objective of running a layer, of moving to a device and of starting on one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.planning.cost import NOWHERE, Floats, Tables
from pipeline.planning.label_setting.rules import PlanRules

Load = int | tuple[int, int]


class Prices:
    """The additive objectives of a problem, by step; D devices, L layers, L + 1 cuts.

    sums       the objectives that are sums over steps: all but the period; also the latency, where devices
               that a plan holds have a cost per second
    loads      the devices and links (from, to) whose seconds of a request are summed as well, as further
               columns: where devices may return, the period is the largest of these sums
    rates      (D,) by objective: cost of a held device per second of latency, where it is not 0
    fits       (D, L + 1): the last cut that a stage on device d from cut b may reach; b if no layer fits
    layer_cost (D, L, width), move_cost (L + 1, from, to, width), start_cost (D, width)
    connected  (D, D): pairs of different devices with a link; startable (D,): devices that may run layer 0
    sending_s  (L + 1, from, to): seconds for which a transfer occupies its link; fetching_s (D,): the same
               for the model's input
    """

    def __init__(
        self,
        tables: Tables,
        objectives: tuple[str, ...],
        rules: PlanRules,
        links: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.tables, self.objectives, self.rules = tables, objectives, rules
        self.num_devices, self.num_layers = len(tables.names), tables.num_layers
        rates = {"energy_j": tables.held_w, "carbon_g": tables.held_g_per_s}
        self.rates = {name: rates[name] for name in objectives if name in rates and rates[name].any()}
        self.sums = [name for name in objectives if name != "period_s"]
        has_period = "period_s" in objectives
        self.links = links
        self.loads: list[Load] = (
            [*range(self.num_devices), *links] if has_period and not rules.distinct else []
        )
        if "latency_s" not in self.sums and (self.rates or not self.sums):
            self.sums.append("latency_s")
        self.width = len(self.sums) + len(self.loads)
        layers = np.triu(np.ones_like(tables.stage_bytes, dtype=bool), 1)
        self.fits = np.full((self.num_devices, self.num_layers + 1), self.num_layers)
        if rules.memory:
            for d, room in enumerate(tables.memory_bytes):
                fitting = layers & (tables.stage_bytes <= room)
                self.fits[d] = np.arange(self.num_layers + 1) + fitting.sum(axis=1)
        self._price()

    def _price(self) -> None:
        """Set the cost in each column of `sums` of running a layer, of moving to a device and of starting."""
        t, shape = self.tables, (self.num_layers + 1, self.num_devices, self.num_devices)
        w = t.dynamic_w + t.busy_idle_w
        g = w * t.g_per_j
        layer_s = t.times.layer_s
        self.sending_s = t.sending_s
        travel_s = t.link_latency_s + self.sending_s
        encode_s, receive_s = t.times.encode_s.T[:, :, None], t.times.opening_s.T[:, None, :]
        moved = np.broadcast_to(t.sent_bytes[:, None, None], shape)
        # The first stage decodes nothing; its input comes from the source, or is there at no cost.
        devices = np.arange(self.num_devices)
        fetched = np.where((t.source == NOWHERE) | (devices == t.source), 0.0, t.sent_bytes[0])
        fetch_s = np.where(fetched > 0, travel_s[0, t.source], 0.0)
        priced = {
            "latency_s": (
                layer_s,
                travel_s + encode_s + receive_s,
                fetch_s + t.times.start_s,
            ),
            "energy_j": (
                layer_s * w[:, None],
                encode_s * w[:, None] + receive_s * w + moved * t.link_j_per_byte,
                t.times.start_s * w + fetched * t.link_j_per_byte[t.source],
            ),
            "carbon_g": (
                layer_s * g[:, None],
                encode_s * g[:, None] + receive_s * g + moved * t.link_g_per_byte,
                t.times.start_s * g + fetched * t.link_g_per_byte[t.source],
            ),
            "transfer_bytes": (np.zeros_like(layer_s), moved, fetched),
        }
        # Where every plan holds the whole fleet, each second of latency costs the same: a price of each step.
        for name, rate in (("energy_j", t.fleet_w), ("carbon_g", t.fleet_g_per_s)):
            if rate:  # 0 times the infinite latency of a missing link is NaN
                own_s = zip(priced[name], priced["latency_s"], strict=True)
                priced[name] = tuple(own + rate * seconds for own, seconds in own_s)
        self.fetching_s = np.where(fetched > 0, self.sending_s[0, t.source], 0.0)
        columns = [*(priced[name] for name in self.sums), *map(self._load, self.loads)]
        layer, move, start = zip(*columns, strict=True)
        self.layer_cost = np.stack(layer, axis=-1)
        self.move_cost = np.stack([np.broadcast_to(m, shape) for m in move], axis=-1)
        self.start_cost = np.stack(start, axis=-1)
        self.connected = np.isfinite(t.link_latency_s) & ~np.eye(self.num_devices, dtype=bool)
        self.move_cost[:, ~self.connected] = np.inf
        self.startable = np.isfinite(fetch_s) & (self.fits[:, 0] > 0)

    def _load(self, load: Load) -> tuple[Floats, Floats, Floats]:
        """Seconds that a device or a link is busy with a layer, a move and a start, shaped as in `_price`."""
        times, start_s = self.tables.times, np.zeros(self.num_devices)
        layer_s, move_s = np.zeros((self.num_devices, self.num_layers)), np.zeros_like(self.sending_s)
        if isinstance(load, int):
            layer_s[load], start_s[load] = times.layer_s[load], times.start_s[load]
            move_s[:, load, :] += times.encode_s[load][:, None]
            move_s[:, :, load] += times.opening_s[load][:, None]
        else:
            sender, receiver = load
            move_s[:, sender, receiver] = self.sending_s[:, sender, receiver]
            start_s[receiver] = self.fetching_s[receiver] if sender == self.tables.source else 0.0
        return layer_s, move_s, start_s
