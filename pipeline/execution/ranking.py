"""Devices in order of keys that change: a tournament tree. Pure."""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Iterator, Sequence


class Ranking:
    """Places 0, 1 ... in ascending order of keys. To change a key or find the first place takes O(log n).

    Among equal keys the lower place is first. A place whose key is infinite is left out.
    """

    def __init__(self, keys: Sequence[float]) -> None:
        self._size = 1 << max(0, len(keys) - 1).bit_length()
        # Node k has the children 2k and 2k + 1 and the smaller of their keys; the places are the leaves.
        self._least = [math.inf] * self._size + list(keys) + [math.inf] * (self._size - len(keys))
        for node in range(self._size - 1, 0, -1):
            self._least[node] = min(self._least[2 * node], self._least[2 * node + 1])

    def set(self, place: int, key: float) -> None:
        """Change the key of a place."""
        least, node = self._least, place + self._size
        if least[node] == key:
            return
        least[node] = key
        while node > 1:
            sibling = least[node ^ 1]
            if sibling < key:
                key = sibling
            node >>= 1
            if least[node] == key:
                return
            least[node] = key

    def key(self, place: int) -> float:
        """The key of a place."""
        return self._least[place + self._size]

    def first(self) -> int | None:
        """The place of the least key; None if all places are left out."""
        least, node, size = self._least, 1, self._size
        if least[1] == math.inf:
            return None
        while node < size:
            node *= 2
            if least[node + 1] < least[node]:
                node += 1
        return node - size

    def first_within(self, limit: float, start: int = 0) -> int | None:
        """The lowest place from `start` on whose key is at most `limit`; None if there is none."""
        least, size = self._least, self._size
        if limit == math.inf:
            limit = sys.float_info.max  # a place that is left out is never within
        if start >= size:
            return None
        node = start + size if start else 1
        while least[node] > limit:  # up and to the right, to a subtree that holds one
            while node & 1:
                node >>= 1
            if not node:
                return None
            node += 1
        while node < size:
            node *= 2
            if least[node] > limit:
                node += 1
        return node - size

    def ascending(self) -> Iterator[int]:
        """The places in ascending order of keys, without those left out; each step takes O(log n)."""
        first = self.first()
        if first is None:
            return
        yield first  # most callers need no more
        size = self._size
        depth = size.bit_length() - 1
        heap = [(self._least[1], 0, 1)]  # key, lowest place below the node, node
        while heap:
            key, place, node = heapq.heappop(heap)
            if key == math.inf:
                return
            if node >= size:
                if place != first:
                    yield place
                continue
            for child in (2 * node, 2 * node + 1):
                below = depth - (child.bit_length() - 1)
                heapq.heappush(heap, (self._least[child], (child << below) - size, child))
