"""Where an exported model may be cut: which values are alive at each place. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from pipeline.network.aliasing import Sets, Values, written

Group = tuple[fx.Node, ...]


def alive_between(groups: Sequence[Group], entry: Group, outputs: Group) -> list[Group]:
    """Nodes whose values are used at or after each boundary between groups, and made before it."""
    last_use = {arg: k for k, group in enumerate(groups) for node in group for arg in node.all_input_nodes}
    last_use |= dict.fromkeys(outputs, len(groups))
    alive = [entry]
    for k, group in enumerate(groups[:-1], start=1):
        alive.append(tuple(node for node in (*alive[-1], *group) if last_use.get(node, -1) >= k))
    return [*alive, outputs]


def cut_points(groups: Sequence[Group], alive: Sequence[Group], values: Values, memory: Sets) -> list[int]:
    """Boundaries k, before groups[k], where the model may be cut.

    All alive must be tensors, and no two of them may share memory that a later call writes to: sent as
    separate tensors they would no longer see each other change.
    """
    last_write = {
        memory.find(target): k for k, group in enumerate(groups) for node in group for target in written(node)
    }

    def may_be_cut(k: int) -> bool:
        roots = [memory.find(node) for node in alive[k]]
        shared = {root for root in roots if roots.count(root) > 1}
        tensors = all(node in values.specs for node in alive[k])
        return tensors and all(last_write.get(root, -1) < k for root in shared)

    return [0, *filter(may_be_cut, range(1, len(groups))), len(groups)]
