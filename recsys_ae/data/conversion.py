"""Conversion of stored columns to ids, ratings, times and flags, with a mask of invalid values and their explanation.

A conversion looks at the whole column and at nothing else, so that no value depends on the order of the rows.
"""

import logging
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_ae.data.text import decoded, undecoded
from recsys_ae.errors import DataError, quoted
from recsys_ae.events import LARGEST_RATING
from recsys_ae.frames import coarse
from recsys_ae.ids import CANONICAL_INTEGER, EXACT, ids_in_text
from recsys_ae.times import ISO_DATE, TOO_COARSE, TimeUnit, instants, no_instant

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\z"
INTEGER = r"^[+-]?[0-9]{1,19}\z"
ZONE = r"[T ][0-9].*(Z|[+-][0-9]{2}(:?[0-9]{2})?)\z"
Scale = tuple[float, float] | None
Mask = NDArray[np.bool_]

logger = logging.getLogger(__name__)


class Converted(NamedTuple):
    """A column of n values."""

    values: Any  # array [n]; arbitrary where a value is bad
    bad: Mask  # [n]
    why: Callable[[Any], str]  # stored bad value -> what is wrong with it, to follow "is"


def as_ids(
    column: pa.ChunkedArray,
    declared: str | None,
    *,
    typed: bool,
    name: str = "",
    hint: str = "",
    ignored: Mask | None = None,
) -> Converted:
    """Ids as int64 or text.

    Args:
        declared: their type, `int` or `str`; None if undeclared.
        typed: whether the file has types, so that text stays text unless declared otherwise.
        name: name of the column in warnings.
        hint: added to the message about a value that is not an integer.
        ignored: bool [n], rows to ignore.

    Raises:
        DataError: the column holds neither text nor whole numbers.
    """
    wanted: Any = declared or ("str" if typed and is_text(column.type) else None)
    missing = _nulls(column)
    if pa.types.is_integer(column.type) and wanted != "str":
        known = pc.fill_null(column, 0) if column.null_count else column
        values = known.cast(pa.int64(), safe=False).to_numpy()
        beyond = (values < 0) & (column.type == pa.uint64())  # unsigned 64-bit numbers wrap around
        return Converted(values, missing | beyond, _no_id("int", hint))
    codes, distinct = encoded(column, missing if ignored is None else missing | ignored)
    texts, unlike = _as_texts(distinct)
    known, wrong = ids_in_text(texts, wanted)
    wrong |= unlike
    if wanted is None and not pa.types.is_integer(known.type):
        _warn_of_few(texts.filter(pa.array(~wrong)), name)
    bad = missing | wrong[codes] if wrong.any() else missing
    if ignored is not None and bad.any():
        bad &= ~ignored
    is_int = pa.types.is_integer(known.type)
    parts = np.array_split(codes, len(codes) // 2**20 + 1)  # text of more than 2 GiB does not fit into one array
    values = known.to_numpy()[codes] if is_int else pa.chunked_array([known.take(pa.array(part)) for part in parts])
    return Converted(values, bad, _no_id("int" if is_int else "str", hint))


def as_ratings(column: pa.ChunkedArray, scale: Scale, decimal: str = ".", *, typed: bool) -> Converted:
    """Ratings as float32, which must be finite, at most 1e9 in size and within the scale; see `as_ids`."""
    values = _as_floats(column, decimal, typed=typed)
    low, high = scale or (-math.inf, math.inf)
    bad = ~((np.abs(values) <= LARGEST_RATING) & (values >= low) & (values <= high))

    def why(value: Any) -> str:
        number = _number(value, decimal)
        if number is None or not math.isfinite(number):
            words = np.isnan(values).all() and isinstance(value, str) and re.search("^[^0-9]+$", value)
            return _not_finite(value, decimal) + (" (replace types of events by a number for each)" if words else "")
        if abs(number) > LARGEST_RATING:
            return f"too large for a rating, the limit is {LARGEST_RATING:g} in size"
        return f"outside the scale {low:g} to {high:g}"

    return Converted(values, bad, why)


def as_scores(column: pa.ChunkedArray, decimal: str = ".", *, typed: bool) -> Converted:
    """Scores as float32, which must be finite; see `as_ids`."""
    values = _as_floats(column, decimal, typed=typed)
    return Converted(values, ~np.isfinite(values), partial(_not_finite, decimal=decimal))


def _as_floats(column: pa.ChunkedArray, decimal: str, *, typed: bool) -> NDArray[np.float32]:
    if is_text(column.type) and not typed:
        codes, distinct = encoded(column)
        with np.errstate(over="ignore"):
            floats: NDArray[np.float32] = numbers_in_text(_as_texts(distinct)[0], decimal).astype(np.float32)[codes]
    elif is_numeric(column.type):
        floats = column.cast(pa.float32(), safe=False).to_numpy()
    else:
        raise DataError(f"holds {column.type}, expected numbers")
    return floats


def as_times(column: pa.ChunkedArray, unit: TimeUnit, date_format: str | None = None, decimal: str = ".") -> Converted:
    """Times as int64 microseconds since 1970.

    Undeclared, the first valid text decides: number or date. Either all dates have a time zone or none has: the rarer are bad.
    """
    if date_format is not None and pa.types.is_integer(column.type):  # such as 20240131
        column = column.cast(pa.string())
    if not is_text(column.type):
        if not (is_numeric(column.type) or pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
            raise DataError(f"holds {column.type}, expected numbers, dates or ISO 8601 text")
        stored = column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            stored = column.cast(pa.timestamp(column.type.unit, "UTC"))  # the same instants, whether or not the zone is known
        if pa.types.is_float32(column.type) and coarse(column.to_numpy()):
            raise DataError(f"holds {column.type}, {TOO_COARSE}")
        values, bad = instants(stored.to_pandas(date_as_object=False), unit)
        return Converted(values, bad, partial(_no_time, unit=unit, decimal=decimal, known=True))
    missing = _nulls(column)
    codes, distinct = encoded(column, missing)
    texts, wrong = _as_texts(distinct)
    wrong = wrong[codes] | missing
    if date_format is not None:
        values, bad = instants(pd.to_datetime(texts.to_pandas(), format=date_format, utc=True, errors="coerce"), unit)
        return Converted(values[codes], bad[codes] | wrong, lambda _: f"not a date in the format {date_format}")
    numbers = _integers(texts) if unit == "ns" else numbers_in_text(texts, decimal)
    dates, no_date = instants(texts.to_pandas(), unit)
    zoned = pc.match_substring_regex(texts, ZONE).to_numpy(zero_copy_only=False).astype(bool)
    is_number, is_date = ~pd.isna(numbers)[codes] & ~wrong, ~no_date[codes] & ~wrong
    first = int((is_number | is_date).argmax())
    if len(codes) and is_date[first]:
        has_zone = zoned[codes]
        n_with, n_without = int((is_date & has_zone).sum()), int((is_date & ~has_zone).sum())
        zone = bool(has_zone[first]) if n_with == n_without else n_with > n_without
        usual = is_date & (has_zone == zone)
        return Converted(dates[codes], ~usual, _no_date(zone, int(usual.sum()), texts[int(codes[usual.argmax()])].as_py()))
    values, bad = instants(pd.Series(numbers), unit)
    why_not = partial(_no_time, unit=unit, decimal=decimal, known=bool(len(codes) and is_number[first]))
    return Converted(values[codes], bad[codes] | ~is_number, why_not)


def series_of(values: Any) -> pd.Series:
    """Converted values as a pandas series."""
    return pd.Series(values if isinstance(values, np.ndarray) else values.to_pandas(), copy=False)


def date_type(text: str) -> pa.DataType | None:
    """The Arrow type of times like `text` if it is an ISO 8601 date, else None."""
    if not re.fullmatch(ISO_DATE, text):
        return None
    return pa.timestamp("ns", "UTC" if pc.match_substring_regex(text, ZONE).as_py() else None)


def as_flags(column: pa.ChunkedArray, *, typed: bool) -> Converted:
    """Booleans, stored as such or as the numbers (in files of text, the digits) 0 and 1; see `as_ids`."""
    missing = _nulls(column)
    if pa.types.is_boolean(column.type):
        return Converted(pc.fill_null(column, False).to_numpy(), missing, lambda _: NO_FLAG)
    codes, distinct = encoded(column)
    texts, wrong = _as_texts(distinct)
    digits = np.array(texts.to_pylist(), object)
    wrong |= ~np.isin(digits, ["0", "1"]) | (typed and is_text(column.type))
    return Converted((digits == "1")[codes], missing | wrong[codes], lambda _: NO_FLAG)


NO_FLAG = "not a flag: expected 0 or 1, or a boolean"


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, or bytes that may be text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary)
    return any(test(kind) for test in (*tests, pa.types.is_large_binary, pa.types.is_binary_view))


def is_numeric(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal))


def _nulls(column: pa.ChunkedArray) -> Mask:
    return pc.is_null(column).to_numpy().astype(bool) if column.null_count else np.zeros(len(column), bool)


def encoded(column: pa.ChunkedArray, missing: Mask | None = None) -> tuple[NDArray[Any], pa.Array]:
    """Codes [n] and distinct values of a column, without unused ones; codes of missing values are arbitrary."""
    missing = _nulls(column) if missing is None else missing
    if pa.types.is_nested(column.type):
        raise DataError(f"holds {column.type}, expected text or numbers")
    if getattr(column.type, "extension_name", None) == "arrow.uuid":
        column = pa.chunked_array([[str(value) for value in column.to_pylist()]], pa.string())
    if pa.types.is_dictionary(column.type) and column.null_count:
        column = column.cast(column.type.value_type)
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
        column = column.cast(pa.large_string() if pa.types.is_string_view(column.type) else pa.large_binary())
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    if not len(column):
        return np.empty(0, np.int32), pa.array([], pa.string())
    codes = np.concatenate([pc.fill_null(chunk.indices, 0).to_numpy(zero_copy_only=False) for chunk in column.chunks])
    distinct = column.chunk(0).dictionary
    occurs = np.zeros(len(distinct), bool)
    occurs[codes[~missing] if missing.any() else codes] = True
    if not occurs.any():
        return np.zeros(len(codes), np.int32), pa.array(["-"])
    if not occurs.all():
        distinct, codes = distinct.filter(pa.array(occurs)), np.maximum(np.cumsum(occurs) - 1, 0)[codes]
    return codes, distinct


def _as_texts(distinct: pa.Array) -> tuple[pa.Array, Mask]:
    """Distinct values as text (whole numbers as digits), and a mask of those that are neither, which become empty."""
    kind = distinct.type
    if pa.types.is_string(kind):
        wrong = undecoded(distinct)
        return pc.if_else(pa.array(wrong), "", distinct) if wrong.any() else distinct, wrong
    if is_text(kind):
        try:
            return distinct.cast(pa.string()), np.zeros(len(distinct), bool)
        except pa.ArrowInvalid:  # bytes that are not UTF-8
            texts = [value.decode("utf-8", "surrogateescape") for value in distinct.to_pylist()]
            good = np.array([decoded(text) for text in texts])
            return pa.array([text if fine else "" for text, fine in zip(texts, good, strict=True)], pa.string()), ~good
    if pa.types.is_integer(kind):
        return distinct.cast(pa.string()), np.zeros(len(distinct), bool)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = distinct.to_pylist()
        exact = EXACT[kind.to_pandas_dtype().__name__] if pa.types.is_floating(kind) else math.inf
        whole = np.array([math.isfinite(one) and one == int(one) and abs(one) < exact for one in numbers])
        return pa.array([str(int(one)) if fine else "" for one, fine in zip(numbers, whole, strict=True)]), ~whole
    raise DataError(f"holds {kind}, expected text or whole numbers")


def numbers_in_text(texts: pa.Array, decimal: str) -> NDArray[np.float64]:
    """Numbers in text, NaN where there is none; spaces around them do not matter, as for Arrow's reader."""
    trimmed = pc.utf8_trim(texts, " \t")
    if decimal == ",":
        trimmed = pc.replace_substring(pc.replace_substring(trimmed, ".", "x"), ",", ".")
    numbers = pc.if_else(pc.match_substring_regex(trimmed, NUMBER), trimmed, "nan")
    try:
        return numbers.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:  # before version 24, Arrow refuses numbers that are too large for a double
        return np.array([float("nan" if text is None else text) for text in numbers.to_pylist()])


def _integers(texts: pa.Array) -> NDArray[Any]:
    """64-bit integers in text as nullable Int64."""
    trimmed = pc.utf8_trim(texts, " \t")
    fine = pc.match_substring_regex(trimmed, INTEGER).to_numpy(zero_copy_only=False).astype(bool)
    numbers = [int(text) if good else None for text, good in zip(trimmed.to_pylist(), fine, strict=True)]
    return pd.array([one if one is None or abs(one) < 2**63 else None for one in numbers], dtype="Int64")  # type: ignore[return-value]


def _number(value: Any, decimal: str) -> float | None:
    """A stored value as a number for messages; None if it is not one."""
    if isinstance(value, str):
        value = value.strip(" \t")
        if decimal == ",":
            value = value.replace(".", "x").replace(",", ".")
        if "_" in value:
            return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _not_finite(value: Any, decimal: str) -> str:
    """What is wrong with a value that is not a finite float32."""
    number = _number(value, decimal)
    if number is None:
        return _not_a_number(value, decimal)
    return "too large" if math.isfinite(number) else "not finite"


def _not_a_number(value: Any, decimal: str) -> str:
    other = "." if decimal == "," else ","
    swapped = isinstance(value, str) and _number(value, other) is not None
    hint = f" (if '{other}' is the decimal mark, declare decimal: '{other}')" if swapped else ""
    return f"not a number{hint}"


def _warn_of_few(texts: pa.Array, name: str) -> None:
    """Warn if valid ids are text only because at most one in ten is not an integer."""
    others = texts.filter(pc.invert(pc.match_substring_regex(texts, CANONICAL_INTEGER)))
    if 0 < len(others) <= len(texts) / 10:
        message = "%s: the ids are read as text because %d of %d are not integers, such as %s; if that is wrong, declare `ids`"
        logger.warning(message, name, len(others), len(texts), quoted(others[0].as_py()))


def _no_id(kind: str, hint: str) -> Callable[[Any], str]:
    def why(value: Any) -> str:
        if value is None:
            return "missing"
        if value == "":
            return "empty"
        if kind == "str":
            return "neither text nor a whole number, or of another type than the first id"
        if isinstance(value, str) and re.fullmatch(INTEGER.removesuffix(r"\z"), value.strip()):
            return f"not an integer of 64 bits in plain digits (7, not 07, +7 or ' 7'){hint}"
        return f"not an integer{hint}" if isinstance(value, str) else "not a whole number, or too large for 64 bits"

    return why


def _no_date(zone: bool, usual: int, example: str) -> Callable[[Any], str]:
    """What is wrong with a value among `usual` dates such as `example`, all with or all without a time zone."""

    def why(value: Any) -> str:
        kind = date_type(value) if isinstance(value, str) else None
        if kind is None or (kind.tz is not None) == zone:
            return "not an ISO 8601 date between the years 1678 and 2262 (declare date_format for other formats)"
        own, others = ("without", "with one") if zone else ("with", "without one")
        return f"{own} a time zone, unlike {usual:,} {others} such as {quoted(example)}; give all of them one, or none"

    return why


def _no_time(value: Any, unit: TimeUnit, decimal: str, known: bool) -> str:
    if not isinstance(value, str):
        return no_instant(value, unit)
    if (number := _number(value, decimal)) is not None:
        return no_instant(number, unit)
    if not known:
        return "neither a number nor an ISO 8601 date (declare date_format for other formats)"
    return f"{_not_a_number(value, decimal)}, unlike the first one"
