"""PipeEdge's partitioner: the pipeline of `pipeline.planning.fastest_pipeline`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.checks import ConfigError
from pipeline.domain.plan import Plan
from pipeline.planning.cost import Tables
from pipeline.planning.exact_front import why_none
from pipeline.planning.fastest_pipeline import fastest_pipeline
from pipeline.planning.label_setting.rules import PlanRules
from pipeline.planning.problem import Problem


@dataclass(frozen=True)
class PipeEdge:
    """The least period over all cuts and placements; of equals a plan with the fewest stages."""

    def partition(self, problem: Problem) -> Plan:
        """The plan of least period.

        Raises ConfigError if no pipeline fits the devices' memory, and for more than MAX_DEVICES devices.
        """
        tables = Tables.of(problem)
        bounds, devices = fastest_pipeline(tables)
        if not devices:
            raise ConfigError(why_none(problem, tables, PlanRules(distinct=True)))
        return problem.plan(bounds, [tables.names[device] for device in devices])
