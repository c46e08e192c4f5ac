"""Ids of users and items in logs: integers or text, decided by the whole column."""

import numpy as np
import pyarrow as pa
from robustness.catalogue import cases
from robustness.feeding import MANY, SECOND, TWO, from_card, lines, log, parquet


def late_user(place: int = 0):
    """The user (or item) of the last event."""
    return from_card()[-1][place]


IDS = [
    # Integers or text is decided by the whole column; an integer has one spelling.
    log("late-leading-zero-makes-text", lines(*MANY, "007,7,4,9999"), then=late_user, rows="007"),
    log(
        "early-leading-zero-makes-text",
        lines("007,7,4,0", *MANY),
        then=lambda: {row[0] for row in from_card()} >= {"007", "7"},
        rows=True,
    ),
    log("late-word-makes-text", lines(*MANY, "anna,7,4,9999"), then=late_user, rows="anna"),
    log(
        "late-zero-padded-item",
        lines(*(f"1,{item},5,{item}" for item in range(1, 1500)), "2,0070,4,9999"),
        then=lambda: late_user(1),
        rows="0070",
    ),
    log(
        "seven-and-007-stay-two",
        lines("7,1,5,10", "007,1,4,20"),
        rows=[("7", 1, 5.0, 10 * SECOND), ("007", 1, 4.0, 20 * SECOND)],
    ),
    log("leading-space", lines(*MANY, "1, 7,4,9999"), says=("log.csv", "line 1501", "' 7'"), ids={"item": "int"}),
    log("trailing-space", lines(*MANY, "1,7 ,4,9999"), says=("log.csv", "line 1501", "'7 '"), ids={"item": "int"}),
    log("declared-integer-007", lines("1,7,5,10", "007,8,4,20"), says=("log.csv", "line 3", "'007'"), ids={"user": "int"}),
    log("declared-integer-plus", lines("1,7,5,10", "+7,8,4,20"), says=("log.csv", "line 3", r"'\+7'"), ids={"user": "int"}),
    log("declared-integer-minus-zero", lines("1,7,5,10", "-0,8,4,20"), says=("log.csv", "line 3", "'-0'"), ids={"user": "int"}),
    log("declared-integer-float", lines("1,7,5,10", "2.0,8,4,20"), says=("log.csv", "line 3", r"'2\.0'"), ids={"user": "int"}),
    log("declared-integer-underscore", lines("1,7,5,10", "1_000,8,4,20"), says=("line 3", "1_000"), ids={"user": "int"}),
    log("declared-integer-arabic-digits", lines("1,7,5,10", "\u0661,8,4,20"), says=("line 3",), ids={"user": "int"}),
    log(
        "declared-integer-beyond-64-bits",
        lines("1,7,5,10", f"{2**63},8,4,20"),
        says=("line 3", str(2**63)),
        ids={"user": "int"},
    ),
    log("undeclared-beyond-64-bits-is-text", lines(f"{2**64},7,5,10"), rows=[(str(2**64), 7, 5.0, 10 * SECOND)]),
    log("empty-user", lines("1,7,5,10", ",8,4,20"), says=("log.csv", "line 3")),
    log("empty-item", lines("1,7,5,10", "a,,4,20"), says=("log.csv", "line 3")),
    log("quoted-empty-user", lines("a,7,5,10", '"",8,4,20'), says=("log.csv", "line 3")),
    log(
        "parquet-null-id",
        parquet(user=[1, None], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("row 2", "user"),
    ),
    log(
        "parquet-empty-text-id",
        parquet(user=["a", ""], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("row 2", "user"),
    ),
    log(
        "parquet-integral-floats",
        parquet(user=[1.0, 2.0], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        rows=TWO,
    ),
    log(
        "parquet-floats-of-32-bits-that-skip-integers",
        parquet(user=pa.array(np.array([16_777_216, 16_777_217], np.float32)), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("row 1", "user", "16777216"),
    ),
    log(
        "parquet-floats-of-64-bits-that-skip-integers",
        parquet(user=[2.0**53, 2.0**53 + 1], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("row 1", "user", "9007199254740992"),
    ),
    log(
        "parquet-floats-of-16-bits",
        parquet(user=pa.array(np.array([1, 2], np.float16)), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        rows=TWO,
    ),
    log(
        "json-lines-floats-that-skip-integers",
        '{"user": 9007199254740993.0, "item": 7, "rating": 5, "time": 10}\n',
        path="log.jsonl",
        says=("log.jsonl", "line 1", "9007199254740992"),
    ),
    log(
        "parquet-fractional-ids",
        parquet(user=[1.0, 2.5], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("user", r"2\.5"),
    ),
    log(
        "parquet-unsigned",
        parquet(user=pa.array([1, 2], pa.uint64()), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        rows=TWO,
    ),
    log(
        "parquet-beyond-64-bits",
        parquet(user=pa.array([1, 2**63], pa.uint64()), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("user", str(2**63)),
    ),
    log(
        "parquet-boolean-ids",
        parquet(user=[True, False], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("user", "bool"),
    ),
    log(
        "parquet-list-ids",
        parquet(user=[[1], [2]], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("user", "list"),
    ),
    log(
        "parquet-dictionary-ids",
        parquet(user=pa.array(["a", "b"]).dictionary_encode(), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        rows=[("a", *TWO[0][1:]), ("b", *TWO[1][1:])],
    ),
    log(
        "parquet-large-strings",
        parquet(user=pa.array(["a", "b"], pa.large_string()), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        rows=[("a", *TWO[0][1:]), ("b", *TWO[1][1:])],
    ),
]


@cases(*IDS)
def test_log(case, examine):
    examine(case)
