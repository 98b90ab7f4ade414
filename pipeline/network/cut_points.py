"""The points at which an exported model may be cut, and the values alive there. Pure.

The boundary between two operators is a cut point if sending the tensors alive there, and nothing else, lets
the rest of the model run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import fx

from pipeline.network.aliasing import Values, written

if TYPE_CHECKING:
    from networkx.utils import UnionFind

Group = tuple[fx.Node, ...]


def alive_between(groups: Sequence[Group], entry: Group, outputs: Group) -> list[Group]:
    """Nodes alive at each of the len(groups) + 1 boundaries: computed before it and used after it.

    `entry` is the model's input, alive at the first boundary; `outputs` are its results, alive at the last.
    """
    last_use = {arg: k for k, group in enumerate(groups) for node in group for arg in node.all_input_nodes}
    last_use |= dict.fromkeys(outputs, len(groups))
    alive = [entry]
    for k, group in enumerate(groups[:-1], start=1):
        alive.append(tuple(node for node in (*alive[-1], *group) if last_use.get(node, -1) >= k))
    return [*alive, outputs]


def cut_points(
    groups: Sequence[Group], alive: Sequence[Group], values: Values, memory: UnionFind
) -> list[int]:
    """Boundaries k, before groups[k], where the model may be cut; always with 0 and len(groups).

    All values alive there must be tensors, and no two of them may share memory that a later call writes to:
    once they are sent as separate tensors, a write to one no longer changes the other.
    """
    last_write = {
        memory[target]: k for k, group in enumerate(groups) for node in group for target in written(node)
    }

    def may_be_cut(k: int) -> bool:
        roots = [memory[node] for node in alive[k]]
        shared = {root for root in roots if roots.count(root) > 1}
        tensors = all(node in values.specs for node in alive[k])
        return tensors and all(last_write.get(root, -1) < k for root in shared)

    return [0, *filter(may_be_cut, range(1, len(groups))), len(groups)]
