"""Adjacency lists, the files of the papers on graph models: a line per user with the user's id and those of their items."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ae.data.content import problem_of
from recsys_ae.data.conversion import Converted, as_ids, series_of
from recsys_ae.data.reading import check_is_text, reading, unpacked
from recsys_ae.data.tables import IdTypes
from recsys_ae.data.text import MARKS, NO_TEXT
from recsys_ae.errors import DataError, quoted
from recsys_ae.ids import Rows

LINES = 2**16  # at a time


def read_adjacency(path: Path, ids: IdTypes | None = None) -> pd.DataFrame:
    """The pairs of a file in its order, as columns user_id and item_id.

    Ids are separated by any number of blanks. A user may have several lines, and lines without items. The file may be
    compressed, see `unpacked`.

    Args:
        ids: declared id types, see `read_table`.

    Raises:
        DataError: no such file, no pairs, text that is not UTF-8, or an invalid id, with its line.
    """
    with reading(path):
        with unpacked(path) as stream:
            content = stream.read()
        lines = _lines(path, content)
        numbers, firsts, others, counts = [], [], [], []
        for start, tokens in _tokens(lines):
            lengths = pc.list_value_length(tokens).to_numpy(zero_copy_only=False).astype(np.int64)
            numbers.append(start + np.flatnonzero(lengths) + 1)
            flat, at = tokens.flatten(), np.r_[0, np.cumsum(lengths)[:-1]][lengths > 0]
            is_user = np.zeros(len(flat), bool)
            is_user[at] = True
            firsts.append(flat.filter(pa.array(is_user)))
            others.append(flat.filter(pa.array(~is_user)))
            counts.append(lengths[lengths > 0] - 1)
        number, count = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (numbers, counts))
        if not count.any():
            raise DataError("there is no data: no user has an item; a line is a user and their items, separated by blanks")
        columns = {role: pa.chunked_array(parts, pa.string()) for role, parts in (("user", firsts), ("item", others))}
        found = {role: _ids(column, role, path, ids or {}) for role, column in columns.items()}
        _raise_first(path, lines, found, columns, {"user": number, "item": np.repeat(number, count)})
        users, items = (series_of(found[role].values) for role in ("user", "item"))
        of_pair = np.repeat(np.arange(len(count)), count)
        return pd.DataFrame({"user_id": users.take(of_pair).reset_index(drop=True), "item_id": items}, copy=False)


def _lines(path: Path, content: bytes) -> list[bytes]:
    check_is_text(content[:16])
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    if b"\0" in content or (mark and MARKS[mark] != "utf-8"):
        raise DataError(NO_TEXT.split(";")[0] + "; convert the file to UTF-8")
    content = content.removeprefix(mark)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = len(content[: error.start + 1].splitlines())
        raise DataError(
            f"{path}, line {line}: {quoted(content[error.start : error.end])} is not UTF-8; convert the file"
        ) from None
    return content.splitlines()


def _tokens(lines: list[bytes]) -> Iterator[tuple[int, pa.ListArray]]:
    """The ids of each line, list of strings, block by block with the position of its first line; none for an empty line."""
    for start in range(0, len(lines), LINES):
        text = pc.ascii_trim_whitespace(pa.array(lines[start : start + LINES], pa.binary()).cast(pa.string()))
        text = pc.if_else(pc.equal(text, ""), None, text)
        yield start, pc.fill_null(pc.ascii_split_whitespace(text), [])


def _ids(column: pa.ChunkedArray, role: str, path: Path, ids: IdTypes) -> Converted:
    hint = f" (declare ids: {{{role}: str}} if ids are text)"
    return as_ids(column, ids.get(role), typed=False, name=f"{path}, ids of {role}s", hint=hint)


def _raise_first(
    path: Path, lines: list[bytes], found: dict[str, Converted], columns: dict[str, pa.ChunkedArray], numbers: dict[str, Rows]
) -> None:
    """Raise `DataError` about the invalid id in the first line that has one."""
    wrong = {role: int(ids.bad.argmax()) for role, ids in found.items() if ids.bad.any()}
    if wrong:
        role = min(wrong, key=lambda role: (numbers[role][wrong[role]], role != "user"))
        number, value = int(numbers[role][wrong[role]]), columns[role][wrong[role]].as_py()
        problem, line = problem_of(role, value, found[role].why), lines[number - 1].decode()
        raise DataError(f"{path}, line {number}: {problem}: {quoted(line, limit=160)}")
