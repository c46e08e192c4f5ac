"""Times of any form as int64 microseconds since 1970 (UTC)."""

import logging
import re
from datetime import date
from numbers import Number, Real
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, DataError, quoted
from recsys_ae.frames import coarse, plain

TimeUnit = Literal["s", "ms", "us", "ns"]
PER_SECOND: dict[str, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# A date, or a date and time with optional decimals and time zone. Other forms that pandas accepts are ambiguous.
ISO_DATE = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}(:?[0-9]{2}(:?[0-9]{2}(\.[0-9]+)?)?)?"
    r" ?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)
ZONED = r"[T ][0-9:.]+ ?(?:Z|[+-][0-9:]+)$"  # an ISO_DATE with a time zone ends so
PANDAS_2 = pd.__version__.startswith("2.")
TOO_COARSE = "in which times of today skip seconds; store them as integers or doubles"
LATEST = 2**63 // 10**9  # seconds: the year 2262, where nanoseconds in 64 bits end
EXCEL_DAYS = 20_000, 80_000  # days since 1899-12-30 of the years 1954 to 2119; as seconds, all in the first day of 1970

logger = logging.getLogger(__name__)


def microseconds(column: pd.Series, unit: TimeUnit = "s", what: str = "the table") -> NDArray[np.int64]:
    """A column of times as int64 [n] microseconds since 1970; anything finer is truncated.

    Args:
        column: dates of any type and resolution (UTC unless they have a time zone; a period is its start), ISO 8601 text, or
            numbers since 1970.
        unit: unit of numbers.
        what: the name of the table in messages.

    Raises:
        ConfigError: an unknown unit.
        DataError: a missing time, text that is not a date, or a number or date too far from 1970.
    """
    if unit not in PER_SECOND:
        raise ConfigError(f"time_unit must be one of {', '.join(PER_SECOND)}, got {quoted(unit)}")
    column = plain(column)
    values, bad = instants(column, unit, what)
    if bad.any():
        at = int(bad.argmax())
        value = column.iloc[at]
        if pd.api.types.is_scalar(value) and pd.isna(value):
            raise DataError(f"column {column.name!r} has no time in row {at} of {what}")
        raise DataError(f"time {quoted(value)} in row {at} of column {column.name!r} of {what} is {no_instant(value, unit)}")
    return values


def instants(column: pd.Series, unit: TimeUnit = "s", what: str = "the table") -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Times as for `microseconds`, and a mask [n] of invalid ones, whose values are arbitrary.

    Raises:
        DataError: a column that holds neither dates nor numbers nor text.
    """
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    kind = column.dtype
    wrong = pd.api.types.is_bool_dtype(kind) or pd.api.types.is_complex_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind)
    if wrong and len(column):
        such = f"{kind} such as {quoted(column.iloc[0])}"
        raise DataError(f"times in column {column.name!r} of {what} must be numbers, dates or ISO 8601 text, got {such}")
    if pd.api.types.is_numeric_dtype(kind):
        if str(kind).lower() in ("float32", "float[pyarrow]") and coarse(column.to_numpy(np.float32, na_value=0)):
            raise DataError(f"column {column.name!r} of {what} holds {kind}, {TOO_COARSE}")
        return _since_1970(column, unit)
    if isinstance(kind, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    dates = (column if isinstance(column.dtype, np.dtype) and column.dtype.kind == "M" else iso_dates(column)).to_numpy()
    bad = np.isnat(dates) | beyond(dates.astype("datetime64[s]").astype(np.int64), "s")  # seconds cannot overflow
    return np.where(bad, np.zeros_like(dates), dates).astype("datetime64[us]").astype(np.int64), bad


def _since_1970(column: pd.Series, unit: TimeUnit) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    values: NDArray[Any] = column.to_numpy()
    missing = column.isna().to_numpy()
    if values.dtype.kind not in "iu":
        whole = not missing.all() and pd.api.types.is_integer_dtype(column.dtype)
        values = column.to_numpy(np.int64 if whole else np.float64, na_value=0 if whole else np.nan)
    bad = beyond(values, unit)
    bad |= missing
    if unit == "s":
        _warn_of_dates(values[~bad] if bad.any() else values)
    if bad.any():
        values = np.where(bad, values.dtype.type(0), values)
    if unit == "ns":
        return (values // 1000).astype(np.int64), bad
    factor = 10**6 // PER_SECOND[unit]
    if values.dtype.kind not in "iu":
        return np.rint(values * factor).astype(np.int64), bad
    values = values.astype(np.int64, copy=False)
    return values if factor == 1 else values * factor, bad


def _warn_of_dates(values: NDArray[Any]) -> None:
    """Warn of valid times in seconds that rather are dates."""
    read = "but are read as seconds since 1970"
    if _are_dates(values):
        way_out = "declare date_format: '%Y%m%d', or convert them to dates"
        logger.warning("times such as %.0f look like dates, %s; %s", values[0], read, way_out)
    elif len(values) and values.min() >= EXCEL_DAYS[0] and values.max() <= EXCEL_DAYS[1]:
        way_out = "save them as dates such as 2024-12-31 in the spreadsheet, or convert them with"
        call = "pandas.to_datetime(times, unit='D', origin='1899-12-30')"
        logger.warning("times such as %.10g look like day numbers of Excel, %s; %s %s", values[0], read, way_out, call)


def _are_dates(values: NDArray[Any]) -> bool:
    """Whether all numbers are dates of the 20th or 21st century such as 20240131."""
    if not len(values) or values.min() < 19000101 or values.max() > 20991231:
        return False
    month, day = values // 100 % 100, values % 100
    return bool(((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (day % 1 == 0)).all())


def iso_dates(column: pd.Series) -> pd.Series:
    """ISO 8601 text or Python dates as naive UTC datetimes; NaT where invalid."""
    if isinstance(column.dtype, (pd.StringDtype, np.dtype)):
        matches = column.astype("str").str.fullmatch(ISO_DATE).to_numpy(bool, na_value=False)
        is_text = isinstance(column.dtype, pd.StringDtype) or column.map(lambda value: isinstance(value, str)).to_numpy(bool)
        column = column.where(~np.asarray(is_text) | matches)
    if column.dtype == object:  # numbers among dates would be taken as nanoseconds
        column = column.mask(column.map(lambda value: isinstance(value, Number)).astype(bool))
    if PANDAS_2:  # gives a text without a time zone that of the one before
        zoned = column.astype("str").str.contains(ZONED).to_numpy(bool, na_value=False)
        if zoned.any() and not zoned.all():
            return _parsed(column.where(zoned)).where(zoned, _parsed(column.where(~zoned)))
    return _parsed(column)


def _parsed(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None)


def beyond(values: NDArray[np.generic], unit: TimeUnit) -> NDArray[np.bool_]:
    """bool [n]: which numbers cannot be Unix times in `unit`, because they are over 292 years from 1970."""
    limit = LATEST * PER_SECOND[unit]
    if len(values) and values.min() > -limit and values.max() < limit:  # the common case, in which no copy is made
        return np.zeros(len(values), bool)
    return ~(np.abs(values.astype(np.float64)) < limit)


def no_instant(value: Any, unit: TimeUnit) -> str:
    """What is wrong with an invalid value of `instants`, to follow "is"; for a number, with the unit that would fit."""
    if value is None or value is pd.NaT:
        return "missing"
    if isinstance(value, Real) and beyond(np.array([float(value)]), unit)[0]:
        value = float(value)
        if not np.isfinite(value):
            return f"not a Unix time in {unit}"
        fitting = next((name for name, per_second in PER_SECOND.items() if abs(value) < LATEST * per_second), None)
        hint = f"; declare time_unit: {fitting}" if fitting else ""
        return f"not a Unix time in {unit} (beyond the year 2262){hint}"
    if not isinstance(value, str | date | np.datetime64) or (isinstance(value, str) and not re.fullmatch(ISO_DATE, value)):
        return "not a number, a date or ISO 8601 text such as 2014-04-07T10:51:09Z"
    return "not a date between the years 1678 and 2262"


def span(times: NDArray[np.int64]) -> str:
    """The first and the last of some times, to the second.

    >>> span(np.array([86_400_000_000, 0, 1]))
    '1970-01-01T00:00:00 to 1970-01-02T00:00:00'
    """
    return " to ".join(str(np.datetime64(int(time), "us").astype("datetime64[s]")) for time in (times.min(), times.max()))


def moment(at: str | float) -> int:
    """Microseconds since 1970 of an ISO 8601 text or of seconds since 1970; `ConfigError` if it is neither."""
    try:
        return int(microseconds(pd.Series([at], name="at"))[0])
    except DataError:
        raise ConfigError(
            f"expected a time as ISO 8601 text, such as 2024-12-31, or as seconds since 1970, got {quoted(at)}"
        ) from None
