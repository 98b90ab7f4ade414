"""Columns of numbers in a table that was read, which may be anybody's. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pipeline.domain.checks import require

if TYPE_CHECKING:
    import pandas as pd


WHOLE = ("request", "stage")
"""Columns that stay whole numbers: nobody adds them up."""


def with_numbers(owner: str, table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The table with these columns as numbers, floats except for WHOLE, NaN where a row has none.

    What is used is then what was checked: a text such as "1" would pass for a number and be joined to the
    next one by a sum, and a sum of whole numbers starts again beyond 2**63. Raises ConfigError naming owner
    and column for texts, times and truth values.
    """
    import pandas as pd

    found = {name: table[name] for name in columns}
    for name, values in found.items():
        if values.dtype == object or values.isna().all():
            require(all(map(_is_number_or_none, values)), f"{owner}: {name} must be a number in every row")
            found[name] = pd.to_numeric(values, errors="coerce")
        is_number = pd.api.types.is_numeric_dtype(found[name]) and not pd.api.types.is_bool_dtype(found[name])
        require(is_number, f"{owner}: {name} must be a number in every row")
        if name not in WHOLE:
            found[name] = found[name].astype(float)
    return table.assign(**found)


def _is_number_or_none(value: Any) -> bool:
    import pandas as pd

    return not isinstance(value, bool) and (isinstance(value, int | float) or value is pd.NA or value is None)
