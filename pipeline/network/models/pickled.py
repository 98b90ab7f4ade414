"""What a file of weights makes PyTorch's reader do, counted before it is read. Shell.

The reader runs no code of the file, but it hashes and prints what the file holds. A pickle of 200 bytes can
hold a tuple that holds the same tuple twice, and so on: 60 deep, its hash takes 2**60 steps.
"""

from __future__ import annotations

import io
import os
import pickletools
from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Any, BinaryIO

import torch

from pipeline.domain.checks import require

MOST_OPCODES = 2_000_000
"""Most instructions of a pickle: a state dict has 40 for each tensor."""
MOST_VALUES = 10_000_000
"""Most values in a pickle, where a value within others counts once for each way to it."""
MOST_DEPTH = 100
"""Deepest nesting of values; that of a state dict is 6."""
NUM_OLD_PICKLES = 5
"""Pickles in a file of PyTorch before 1.6: number, version, system, weights, names of the storages."""
FILLING = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
"""Instructions that put values into one that exists."""
Value = list[Any]
"""The values within a value."""
_ATOM: Value = []
_MARK: Value = []


def require_readable(file: BinaryIO) -> None:
    """Raise ConfigError or ValueError for a file of weights that would take PyTorch's reader very long.

    Also for one with packed parts, which could be of any size: PyTorch packs none. Other errors of such files
    are PyTorch's own.
    """
    if file.read(4) != b"PK\x03\x04":
        file.seek(0)
        for _ in range(NUM_OLD_PICKLES):
            require_small(file)
        return
    file.seek(0)
    # PyTorch's own reader: another may find other parts in the same file.
    reader = torch._C.PyTorchFileReader(file)
    num_bytes = sum(reader.get_record_size(name) for name in reader.get_all_records())
    require(num_bytes <= os.fstat(file.fileno()).st_size, "its parts are packed, or overlap")
    require_small(io.BytesIO(reader.get_record("data.pkl")))


def require_small(pickle: BinaryIO) -> None:
    """Read to the end of a pickle. Raises ConfigError for one that holds too much, else ValueError."""
    values = {id(value): value for value in _values(pickle)}
    known: dict[int, tuple[int, int]] = {}
    total = 0
    # From the innermost values on; a value within itself is a ValueError.
    for place in TopologicalSorter({i: {id(v) for v in value} for i, value in values.items()}).static_order():
        inner = [known[id(each)] for each in values[place]]
        known[place] = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        total += known[place][0]
        require(known[place][1] <= MOST_DEPTH, f"its values are nested more than {MOST_DEPTH} deep")
        require(total <= MOST_VALUES, f"it holds more than {MOST_VALUES} values")


def _values(pickle: BinaryIO) -> Iterator[Value]:
    """All values that a pickle makes, some several times; each is filled when the last is yielded."""
    stack: list[Value] = []
    memo: dict[Any, Value] = {}
    yield _ATOM
    for number, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
        require(number < MOST_OPCODES, f"it has more than {MOST_OPCODES} instructions")
        name = opcode.name
        if name == "MARK":
            stack.append(_MARK)
        elif name.endswith("PUT") or name == "MEMOIZE":
            memo[len(memo) if name == "MEMOIZE" else argument] = _top(stack)
        elif name.endswith("GET"):
            require(argument in memo, "it is broken")
            stack.append(memo[argument])
        elif name == "DUP":
            stack.append(_top(stack))
        else:
            taken = _taken(stack, opcode)
            if name in FILLING:
                require(len(taken) > 0 and taken[0] is not _ATOM, "it is broken")
                made = taken[0]
                made += taken[1:]
            else:
                made = taken if taken or name.startswith("EMPTY") else _ATOM
            yield made
            if opcode.stack_after:
                stack.append(made)


def _top(stack: list[Value]) -> Value:
    require(len(stack) > 0 and stack[-1] is not _MARK, "it is broken")
    return stack[-1]


def _taken(stack: list[Value], opcode: pickletools.OpcodeInfo) -> list[Value]:
    """The values that an instruction takes from the stack, without the mark before the last of them."""
    taken: list[Value] = []
    before = opcode.stack_before
    if pickletools.markobject in before:
        while (value := stack.pop() if stack else None) is not _MARK:
            require(value is not None, "it is broken")
            assert value is not None
            taken.append(value)
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken.append(_top(stack))
        stack.pop()
    return taken[::-1]
