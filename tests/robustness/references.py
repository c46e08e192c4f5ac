"""Plain data once more, by the standard library, Arrow and SciPy, and as strict as possible."""

import csv
import gzip
import io
import json
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq


class StrictError(Exception):
    """What an independent parser does not accept."""


INTEGER = re.compile("0|-?[1-9][0-9]*")


def ids_of(column: Sequence[str]) -> list[Any]:
    if any(not value or value != value.encode(errors="replace").decode() for value in column):
        raise StrictError
    whole = all(INTEGER.fullmatch(value) and -(2**63) <= int(value) < 2**63 for value in column)
    return [int(value) for value in column] if whole else list(column)


def _number(text: str) -> float:
    if "_" in text or not text.isascii():
        raise StrictError
    return float(text)


def rows_of(fields: Sequence[Sequence[str]]) -> list[Any]:
    """Sorted (user, item, rating) of rows of text, the first of which is the header."""
    header, *rows = fields
    if (
        not rows
        or any(len(row) != len(header) for row in rows)
        or any(header.count(name) != 1 for name in ("user", "item", "rating", "time"))
    ):
        raise StrictError
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    ratings = [float(np.float32(_number(text))) for text in columns["rating"]]
    if not all(map(math.isfinite, ratings)) or not all(columns["time"]):
        raise StrictError
    return sorted(zip(ids_of(columns["user"]), ids_of(columns["item"]), ratings, strict=True), key=repr)


def by_csv(text: str) -> list[Any]:
    csv.field_size_limit(1 << 30)
    return rows_of([row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row])


def by_gzip() -> list[Any]:
    return by_csv(gzip.decompress(Path("log.csv.gz").read_bytes()).decode("utf-8-sig"))


def by_lines(text: str, separator: str) -> list[Any]:
    return rows_of([line.split(separator) for line in re.split("\r\n|\r|\n", text) if line])


def text_of(path: str) -> str:
    return Path(path).read_bytes().decode("utf-8-sig", "surrogateescape")


def by_json_lines(text: str) -> list[Any]:
    found = [json.loads(line) for line in text.split("\n") if line.strip()]
    if not all(isinstance(row, dict) and {"user", "item", "rating", "time"} <= row.keys() for row in found):
        raise StrictError
    return sorted(((row["user"], row["item"], float(np.float32(row["rating"]))) for row in found), key=repr)


def by_arrow(path: str) -> list[Any]:
    table = pq.read_table(path, columns=["user", "item", "rating"])
    users, items, ratings = (table[name].to_pylist() for name in ("user", "item", "rating"))
    return sorted(
        ((user, item, float(np.float32(rating))) for user, item, rating in zip(users, items, ratings, strict=True)), key=repr
    )


def by_struct(path: str, what: str) -> tuple[tuple[int, ...], bytes]:
    content = Path(path).read_bytes()
    dimensions = 3 if what == "images" else 1
    magic, *shape = struct.unpack(f">{1 + dimensions}I", content[: 4 + 4 * dimensions])
    if magic != 0x0800 | dimensions or math.prod(shape) != len(content) - 4 - 4 * dimensions:
        raise StrictError
    return tuple(shape), content[4 + 4 * dimensions :]


def triples_of(users: Any, items: Any, ratings: Any) -> list[Any]:
    """Sorted (user, item, rating) of arrays."""
    ratings = np.asarray(ratings).astype(np.float32)
    if not (np.abs(ratings) <= 1e9).all():
        raise StrictError
    return sorted(zip(users.tolist(), items.tolist(), ratings.tolist(), strict=True), key=repr)
