"""Numbers below 1.2e-38 count as 0 wherever a model computes answers that are compared. Shell.

Random weights lead to many such numbers, which most processors compute slowly: EfficientNet-B0 took a quarter
longer on some images than on others. Most accelerators and many runtimes take them for 0 too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def subnormals_as_zero() -> Iterator[None]:
    """During the block, this thread's torch operators take subnormal numbers for 0."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
