"""Times of any form as int64 microseconds since 1970 (UTC)."""

from numbers import Number
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, DataError, quoted
from recsys_ae.frames import plain

TimeUnit = Literal["s", "ms", "us", "ns"]
PER_SECOND: dict[str, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
LATEST = 2**63 // 10**9  # seconds: the year 2262, where nanoseconds in 64 bits end


def microseconds(column: pd.Series, unit: TimeUnit = "s", what: str = "the table") -> NDArray[np.int64]:
    """A column of times as int64 [n] microseconds since 1970; finer fractions are cut off.

    Args:
        column: dates of any type and resolution (UTC unless they have a time zone; a period is its start), ISO 8601 text, or
            numbers since 1970.
        unit: unit of numbers.
        what: the name of the table in messages.

    Raises:
        ConfigError: an unknown unit.
        DataError: a missing time, text that is not a date, or a number too large to be a Unix time in `unit`.
    """
    if unit not in PER_SECOND:
        raise ConfigError(f"a time unit is one of {', '.join(PER_SECOND)}, got {quoted(unit)}")
    column = plain(column)
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    numeric = pd.api.types.is_numeric_dtype(column)
    wrong = pd.api.types.is_bool_dtype(column) or pd.api.types.is_complex_dtype(column) or column.dtype.kind == "m"
    if wrong and len(column):
        such = f"{column.dtype} such as {quoted(column.iloc[0])}"
        raise DataError(f"times in column {column.name!r} of {what} must be numbers, dates or ISO 8601 text, got {such}")
    times = column if numeric else _dates(column)
    if (bad := times.isna().to_numpy()).any():
        at = int(bad.argmax())
        value = column.iloc[at]
        missing = pd.api.types.is_scalar(value) and pd.isna(value)
        problem = "no time" if missing else f"time {quoted(value)}, wanted a number, a date or ISO 8601 text,"
        raise DataError(f"column {column.name!r} has {problem} in row {at} of {what}")
    if not numeric:
        try:
            return times.dt.tz_localize(None).dt.as_unit("us").to_numpy().astype(np.int64)
        except pd.errors.OutOfBoundsDatetime as error:
            raise DataError(f"column {column.name!r} of {what} has a time that is too far away: {error}") from None
    values: NDArray[Any] = times.to_numpy()
    if (bad := beyond(values, unit)).any():
        at = int(bad.argmax())
        problem = not_unix_time(float(values[at]), unit)
        raise DataError(f"time {values[at]} in row {at} of column {column.name!r} of {what} is {problem}")
    if unit == "ns":
        return (values // 1000).astype(np.int64)
    factor = 10**6 // PER_SECOND[unit]
    return values.astype(np.int64) * factor if values.dtype.kind in "iu" else np.rint(values * factor).astype(np.int64)


def _dates(column: pd.Series) -> pd.Series:
    """Dates or ISO 8601 text as timestamps in UTC; NaT for everything else."""
    if column.dtype == object:  # numbers among dates would be taken as nanoseconds
        column = column.mask(column.map(lambda value: isinstance(value, Number)).astype(bool))
    return pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")


def beyond(values: NDArray[np.generic], unit: TimeUnit) -> NDArray[np.bool_]:
    """bool [n]: which numbers cannot be Unix times in `unit`, being more than 292 years from 1970."""
    return ~(np.abs(values.astype(np.float64)) < LATEST * PER_SECOND[unit])


def not_unix_time(value: float, unit: TimeUnit) -> str:
    """Message after "is" for a number that cannot be a Unix time in `unit`, with the unit in which it could be one."""
    fitting = next((name for name, per_second in PER_SECOND.items() if abs(value) < LATEST * per_second), None)
    hint = f"; declare time_unit: {fitting}" if fitting else ""
    return f"not a Unix time in {unit} (beyond the year 2262){hint}"


def moment(at: str | float) -> int:
    """Microseconds since 1970 of one moment, given as ISO 8601 text or as seconds since 1970; `ConfigError` if neither."""
    try:
        return int(microseconds(pd.Series([at], name="at"))[0])
    except DataError:
        raise ConfigError(f"expected a time as ISO 8601 text or seconds since 1970, got {at!r}") from None
