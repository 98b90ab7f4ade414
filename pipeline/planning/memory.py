"""The memory that stages need on a device. Pure."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", float, npt.NDArray[np.float64])


def needed_bytes(param_bytes: Number, peak_bytes: Number) -> Number:
    """Bytes that a device needs for the stages it holds.

    param_bytes: the parameters of all of them, which stay in memory. peak_bytes: the largest activations of
    any one, as a device runs one stage at a time. Arrays broadcast.
    """
    return param_bytes + peak_bytes
