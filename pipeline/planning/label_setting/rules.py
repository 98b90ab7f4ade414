"""The rules that plans of the exact front obey. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.planning.cost import Ints, Tables

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PlanRules:
    """The rules that plans of the exact front obey."""

    distinct: bool = False
    """Each device holds one stage at most."""
    memory: bool = True
    """The stages of each device must fit its memory."""
    max_stages: int | None = None
    """Most stages of a plan; None: no limit."""

    def broken(self, tables: Tables, bounds: Ints, where: Ints) -> Bools:
        """(plans, D): whether a device breaks a rule about all of its stages together.

        bounds (plans, stages + 1) and where (plans, stages) are plans as `Tables.cost` takes them.
        """
        num_devices = len(tables.names)
        broken = np.zeros((len(bounds), num_devices), dtype=bool)
        if self.distinct:
            real = bounds[:, 1:] > bounds[:, :-1]
            place = np.arange(len(bounds))[:, None] * num_devices + where
            uses = np.bincount(place[real], minlength=broken.size)
            broken |= uses.reshape(broken.shape) > 1
        if self.memory:
            broken |= tables.memory_need_bytes(bounds, where) > tables.memory_bytes
        return broken
