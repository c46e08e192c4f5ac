"""Conversion of data frames of any library to pandas, used wherever a data frame is accepted."""

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, DataError, described, did_you_mean, reason
from recsys_ae.ids import EXACT, shown

Frame = Any  # what narwhals knows (pandas, Polars, Arrow, DuckDB, Modin, Dask, ...), or anything that exports an Arrow stream
NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")  # names of types in pandas.api.types.infer_dtype
LAST_RANK = 2**53  # larger ranks are clipped to this: floats are exact up to here, and no list is longer


def read_frame(
    frame: Frame, columns: Mapping[str, str | None], what: str = "the table", optional: Sequence[str] = ()
) -> pd.DataFrame:
    """The `columns` of a data frame of any library, as a pandas data frame with index 0, 1, ...

    Args:
        columns: names of columns by role; None for no such column.
        what: the name of the table in messages.
        optional: further columns, taken if they exist.

    Raises:
        ConfigError: the frame lacks a column, or has it twice.
        DataError: not a data frame, or its library cannot produce the rows.
    """
    names = []
    for role, name in columns.items():
        if name is None and role in ("user", "item"):
            raise ConfigError(f"the {role} column of {what} needs a name, got None")
        if name is not None and name not in names:
            names.append(name)
    if isinstance(frame, pd.DataFrame):
        names += [name for name in optional if name in frame.columns]
        _check(names, list(frame.columns), what, [name for name in frame.index.names if name is not None])
        return frame[names].reset_index(drop=True)
    known = _known(frame, what)
    try:
        found = known.collect_schema().names()
        names += [name for name in optional if name in found]
        _check(names, found, what)
        chosen = known.select(names)
        table = (chosen.collect("pyarrow") if isinstance(chosen, nw.LazyFrame) else chosen).to_arrow()
    except ConfigError:
        raise
    except Exception as error:  # a lazy query may raise anything
        raise DataError(f"{what} cannot be read: {type(error).__name__}: {reason(error)}") from None
    return table.to_pandas(ignore_metadata=True, date_as_object=False, integer_object_nulls=True)


def is_frame(value: object) -> bool:
    """Whether `value` is a data frame of any library, rather than a list or a column."""
    known = nw.from_native(value, pass_through=True)
    return isinstance(known, nw.DataFrame | nw.LazyFrame) or (
        hasattr(value, "columns") and hasattr(value, "__arrow_c_stream__")
    )


def plain(column: pd.Series) -> pd.Series:
    """A column with categories replaced by their values, and objects by numbers or dates where all known values are such."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype if column.notna().all() else object)
    if column.dtype == object:
        column = column.infer_objects()
    if column.dtype == object and pd.api.types.infer_dtype(column) in NUMBERS:
        column = column.where(column.notna(), np.nan).astype(np.float64)
    return column


def coarse(values: NDArray[np.float32]) -> bool:
    """Whether some of these numbers are so large that their type skips whole ones."""
    return bool((np.abs(values) >= EXACT["float32"]).any())


def ranks(frame: pd.DataFrame, first: int = 0) -> NDArray[np.int64]:
    """The column `rank` of lists, int64 [n] from 1, at most `LAST_RANK`.

    Args:
        first: number of the first row, in messages.

    Raises:
        DataError: a rank that is missing or not a whole number of at least 1.
    """
    column = plain(frame["rank"])
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    values = column.to_numpy(np.float64, na_value=np.nan) if numeric else np.full(len(column), np.nan)
    if (bad := ~((values >= 1) & (np.floor(values) == values) & np.isfinite(values))).any():
        at = int(bad.argmax())
        raise DataError(f"ranks must be whole numbers from 1, got {shown(column.iloc[at])} in row {first + at} of the lists")
    return np.minimum(values, LAST_RANK).astype(np.int64)


def _known(frame: Frame, what: str) -> Any:
    """`frame` as a narwhals data frame."""
    wanted = f"{what} must be a data frame, got {described(frame)}"
    try:
        return nw.from_native(frame)
    except nw.exceptions.DuplicateError:
        raise ConfigError(f"{what} has two columns of the same name; rename one of them") from None
    except TypeError:
        if isinstance(frame, type) or not hasattr(frame, "__arrow_c_stream__"):
            hint = "read_interactions reads files" if isinstance(frame, str) else "pandas.DataFrame makes one"
            raise DataError(f"{wanted}; {hint}") from None
    try:
        return nw.from_native(pa.table(frame))
    except (TypeError, ValueError, pa.ArrowException):
        raise DataError(f"{wanted}; pandas.DataFrame makes one") from None


def _check(names: Sequence[str], found: Sequence[Any], what: str, index: Sequence[Any] = ()) -> None:
    """Raise `ConfigError` unless each of `names` is found once."""
    for name in names:
        if name in index and name not in found:
            raise ConfigError(f"{what} has {name!r} in its index; call its reset_index() first")
        if name not in found:
            raise ConfigError(f"{what} has no column {name!r}; {did_you_mean(str(name), map(str, found))}")
        if found.count(name) > 1:
            raise ConfigError(f"{what} has {found.count(name)} columns {name!r}; rename all but one")
