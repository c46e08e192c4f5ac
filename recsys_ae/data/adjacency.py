"""Adjacency lists, the files of the papers on graph models: a line per user with the user's id and those of their items."""

from pathlib import Path
from typing import NamedTuple

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


class _Lists(NamedTuple):
    """The lines of a file that are not empty: number from 1, user, and number of items; and the items of all lines."""

    numbers: Rows
    users: pa.ChunkedArray
    items: pa.ChunkedArray
    counts: Rows

    def of_item(self) -> Rows:
        """The position of the line of each item."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


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
        lists = _lists(lines)
        if not len(lists.items):
            raise DataError("there is no data: no user has an item; a line is a user and their items, separated by blanks")
        found = {role: _ids(getattr(lists, f"{role}s"), role, path, ids or {}) for role in ("user", "item")}
        _raise_first(path, lines, lists, found)
        users, items = (series_of(found[role].values) for role in ("user", "item"))
        users = users.take(lists.of_item()).reset_index(drop=True)
        return pd.DataFrame({"user_id": users, "item_id": items}, copy=False)


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


def _lists(lines: list[bytes]) -> _Lists:
    numbers, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    users, items = [], []
    for start in range(0, len(lines), LINES):
        text = pc.ascii_trim_whitespace(pa.array(lines[start : start + LINES], pa.binary()).cast(pa.string()))
        filled = pc.not_equal(text, "")
        tokens = pc.ascii_split_whitespace(text.filter(filled))
        lengths = pc.list_value_length(tokens).to_numpy().astype(np.int64)
        is_user = np.zeros(lengths.sum(), bool)
        is_user[np.cumsum(lengths) - lengths] = True
        numbers.append(start + 1 + np.flatnonzero(filled))
        counts.append(lengths - 1)
        users.append(tokens.flatten().filter(pa.array(is_user)))
        items.append(tokens.flatten().filter(pa.array(~is_user)))
    of_line, of_all = (pa.chunked_array(parts, pa.string()) for parts in (users, items))
    return _Lists(np.concatenate(numbers), of_line, of_all, np.concatenate(counts))


def _ids(column: pa.ChunkedArray, role: str, path: Path, ids: IdTypes) -> Converted:
    hint = f" (declare ids: {{{role}: str}} if ids are text)"
    return as_ids(column, ids.get(role), typed=False, name=f"{path}, ids of {role}s", hint=hint)


def _raise_first(path: Path, lines: list[bytes], lists: _Lists, found: dict[str, Converted]) -> None:
    """Raise `DataError` about the invalid id in the first line that has one."""
    wrong = {role: int(ids.bad.argmax()) for role, ids in found.items() if ids.bad.any()}
    if wrong:
        numbers = {"user": lists.numbers, "item": lists.numbers[lists.of_item()]}
        role = min(wrong, key=lambda role: (numbers[role][wrong[role]], role != "user"))
        number, value = int(numbers[role][wrong[role]]), getattr(lists, f"{role}s")[wrong[role]].as_py()
        problem, line = problem_of(role, value, found[role].why), lines[number - 1].decode()
        raise DataError(f"{path}, line {number}: {problem}: {quoted(line, limit=160)}")
