"""Logs in data frames."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
from robustness.catalogue import Case, cases
from robustness.feeding import SECOND, events

from recsys_ae import Interactions


def of(**columns):
    """The events of a data frame with these columns."""
    options = {"time": "time"} if "time" in columns else {}
    frame = pd.DataFrame(columns)
    options["rating"] = "rating" if "rating" in columns else None
    return events(Interactions.from_frame(frame, **options))


def from_python(name, columns, *, rows=..., says=(), code=None, **more) -> Case:
    code = (0 if rows is not ... else 1) if code is None else code
    return Case(
        name,
        lambda: of(**{key: make() if callable(make) else make for key, make in columns.items()}),
        {},
        code,
        says,
        gives=rows,
        **more,
    )


ITEMS = [7, 8]
FRAMES = [
    from_python("frame-plain", {"user_id": [1, 2], "item_id": ITEMS}, rows=[(1, 7, 1.0, None), (2, 8, 1.0, None)]),
    from_python(
        "frame-categorical",
        {"user_id": pd.Categorical(["b", "a"]), "item_id": ITEMS},
        rows=[("b", 7, 1.0, None), ("a", 8, 1.0, None)],
    ),
    from_python(
        "frame-categorical-with-unused",
        {"user_id": pd.Categorical(["b", "a"], categories=["a", "b", "c"]), "item_id": ITEMS},
        rows=[("b", 7, 1.0, None), ("a", 8, 1.0, None)],
    ),
    from_python(
        "frame-nullable-integers",
        {"user_id": pd.array([1, 2], "Int64"), "item_id": ITEMS},
        rows=[(1, 7, 1.0, None), (2, 8, 1.0, None)],
    ),
    from_python(
        "frame-nullable-missing", {"user_id": pd.array([1, None], "Int64"), "item_id": ITEMS}, says=("user_id", "row 1|row 2")
    ),
    from_python(
        "frame-integral-floats", {"user_id": [1.0, 2.0], "item_id": ITEMS}, rows=[(1, 7, 1.0, None), (2, 8, 1.0, None)]
    ),
    from_python(
        "frame-floats-of-32-bits-that-skip-integers",
        {"user_id": np.array([16_777_216, 16_777_217], np.float32), "item_id": ITEMS},
        says=("user_id", "16777216", "row 0"),
    ),
    from_python(
        "frame-floats-of-64-bits-that-skip-integers",
        {"user_id": [2.0**53, 2.0**53 + 1], "item_id": ITEMS},
        says=("user_id", "9007199254740992", "row 0"),
    ),
    from_python(
        "frame-times-in-32-bits",
        {"user_id": [1, 2], "item_id": ITEMS, "time": np.array([1_700_000_001, 1_700_000_002], np.float32)},
        says=("time", "float32"),
    ),
    from_python("frame-fractional-floats", {"user_id": [1.0, 2.5], "item_id": ITEMS}, says=("user_id", r"2\.5")),
    from_python("frame-nan-ids", {"user_id": [1.0, float("nan")], "item_id": ITEMS}, says=("user_id", "row 1|row 2")),
    from_python("frame-mixed-ids", {"user_id": [1, "b"], "item_id": ITEMS}, says=("user_id",)),
    from_python(
        "frame-uuid",
        {"user_id": lambda: __import__("uuid").UUID(int=5), "item_id": [7]},
        rows=[("00000000-0000-0000-0000-000000000005", 7, 1.0, None)],
    ),
    from_python("frame-bytes-ids", {"user_id": [b"a", b"b"], "item_id": ITEMS}, says=("user_id", "b'a'|bytes")),
    from_python("frame-tuple-ids", {"user_id": [(1, 2), (3, 4)], "item_id": ITEMS}, says=("user_id", "tuple|mixed|\\(1, 2\\)")),
    from_python("frame-list-ids", {"user_id": [[1], [2]], "item_id": ITEMS}, says=("user_id",)),
    from_python("frame-boolean-ids", {"user_id": [True, False], "item_id": ITEMS}, says=("bool",)),
    from_python("frame-ids-beyond-64-bits", {"user_id": [1, 2**70], "item_id": ITEMS}, says=(str(2**70) + "|64",)),
    from_python(
        "frame-lone-surrogate",
        {"user_id": pd.Series(["a", "\ud800"], dtype=object), "item_id": ITEMS},
        says=("user_id", "d800|surrogate"),
    ),
    from_python("frame-complex-ratings", {"user_id": [1, 2], "item_id": ITEMS, "rating": [1j, 2j]}, says=("rating", "complex")),
    from_python(
        "frame-text-ratings",
        {"user_id": [1, 2], "item_id": ITEMS, "rating": ["5", "good"]},
        says=("rating", "good|string|str|object"),
    ),
    from_python("frame-nan-ratings", {"user_id": [1, 2], "item_id": ITEMS, "rating": [5.0, float("nan")]}, says=("rating",)),
    from_python(
        "frame-nullable-ratings",
        {"user_id": [1, 2], "item_id": ITEMS, "rating": pd.array([5, 4], "Int8")},
        rows=[(1, 7, 5.0, None), (2, 8, 4.0, None)],
    ),
    from_python(
        "frame-decimal-ratings",
        {"user_id": [1, 2], "item_id": ITEMS, "rating": [Decimal("5"), Decimal("4")]},
        rows=[(1, 7, 5.0, None), (2, 8, 4.0, None)],
    ),
    from_python("frame-empty", {"user_id": [], "item_id": []}, says=("no data|no rows",)),
    from_python(
        "frame-dates", {"user_id": [1], "item_id": [7], "time": [datetime.date(1970, 1, 2)]}, rows=[(1, 7, 1.0, 86400 * SECOND)]
    ),
    from_python(
        "frame-datetimes",
        {"user_id": [1], "item_id": [7], "time": [datetime.datetime(1970, 1, 2)]},
        rows=[(1, 7, 1.0, 86400 * SECOND)],
    ),
    from_python(
        "frame-zoned-datetimes",
        {"user_id": [1], "item_id": [7], "time": [pd.Timestamp("1970-01-02T01:00", tz="Europe/Berlin")]},
        rows=[(1, 7, 1.0, 86400 * SECOND)],
    ),
    from_python(
        "frame-periods",
        {"user_id": [1], "item_id": [7], "time": pd.period_range("1970-01-02", periods=1, freq="D")},
        rows=[(1, 7, 1.0, 86400 * SECOND)],
    ),
    from_python(
        "frame-numpy-days",
        {"user_id": [1], "item_id": [7], "time": np.array(["1970-01-02"], "datetime64[D]")},
        rows=[(1, 7, 1.0, 86400 * SECOND)],
    ),
    from_python(
        "frame-arrow-timestamps",
        {
            "user_id": [1],
            "item_id": [7],
            "time": pd.array(pd.to_datetime(["1970-01-02"]), dtype=pd.ArrowDtype(pa.timestamp("ms"))),
        },
        rows=[(1, 7, 1.0, 86400 * SECOND)],
    ),
    from_python("frame-durations", {"user_id": [1], "item_id": [7], "time": pd.to_timedelta([5], unit="s")}, says=("time",)),
    from_python(
        "frame-missing-time",
        {"user_id": [1, 2], "item_id": ITEMS, "time": [pd.Timestamp(0), pd.NaT]},
        says=("time", "row 1|row 2"),
    ),
    Case(
        "frame-is-a-dictionary",
        lambda: Interactions.from_frame({"user_id": [1], "item_id": [7]}),
        code=1,
        says=("frame", "dict"),
    ),
    Case(
        "frame-without-the-column",
        lambda: Interactions.from_frame(pd.DataFrame({"user": [1], "item_id": [7]})),
        code=2,
        says=("user_id",),
    ),
    Case(
        "frame-arrow-table",
        lambda: events(Interactions.from_frame(pa.table({"user_id": [1], "item_id": [7]}), rating=None)),
        gives=[(1, 7, 1.0, None)],
    ),
    Case(
        "frame-two-columns-of-one-name",
        lambda: Interactions.from_frame(pd.DataFrame([[1, 2, 7]], columns=["user_id", "user_id", "item_id"]), rating=None),
        code=2,
        says=("user_id",),
    ),
    Case(
        "frame-sparse-ratings",
        lambda: of(user_id=[1, 2], item_id=ITEMS, rating=pd.arrays.SparseArray([5.0, 4.0])),
        gives=[(1, 7, 5.0, None), (2, 8, 4.0, None)],
    ),
]


@cases(*FRAMES)
def test_log(case, examine):
    examine(case)
