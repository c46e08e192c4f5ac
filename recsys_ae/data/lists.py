"""Reading of recommendations from a single file of any origin, by the same rules as logs."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from recsys_ae.data.content import TEXT, raise_invalid, read_content, refuse
from recsys_ae.data.conversion import as_ids, as_scores, series_of
from recsys_ae.data.detection import Layout, layout_of, text_encoding
from recsys_ae.data.id_tables import column_names
from recsys_ae.data.layouts import FileLayout, Place, is_structured
from recsys_ae.data.reading import column_context, reading
from recsys_ae.data.tables import IdTypes
from recsys_ae.errors import DataError, UnrecognisedError

RANK, SCORE = "rank", "score"


class ListFile(FileLayout):
    """The layout of a file of lists."""

    user: str = "user_id"
    item: str = "item_id"

    def places(self) -> list[Place]:
        return [self.user, RANK, self.item]


def read_lists(
    path: Path,
    ids: IdTypes | None = None,
    own_names: Mapping[str, Place | None] = MappingProxyType({}),
    encoding: str | None = None,
) -> pd.DataFrame:
    """Columns user_id, rank, item_id and, if there, score of a Parquet or text file, or of JSON lines, also compressed.

    Ids are int64 or text by the same rules as in logs, ranks int64 from 1, scores float32. In text separated by semicolons,
    scores may have decimal commas.

    Args:
        ids: declared id types, see `data.tables.read_table`.
        own_names: names of the columns of users and items that a card declares, which may stand for the usual ones.
        encoding: that a card declares, see `text_encoding`.

    Raises:
        DataError: no such file or column, no rows, or an invalid line (or row), with its number and content.
    """
    with reading(path):
        encoding = text_encoding(path, encoding)
        present = column_names(path, encoding)
        own: dict[str, Any] = {role: own_names[role] for role in ("user", "item") if own_names.get(role) in present}
        file = ListFile(path=path.name, encoding=encoding, **own)
        names, dialect, _ = _layout_of(path, file)
        marks = ".," if dialect is not None and dialect.separator == ";" else "."
        places: dict[str, Place] = {"user_id": file.user, RANK: RANK, "item_id": file.item}
        places |= {SCORE: SCORE} if SCORE in names else {}
        content = read_content(path, file, dict.fromkeys(places.values(), TEXT))
        kinds = {f"{role}_id": kind for role, kind in (ids or {}).items()} | {RANK: "int"}
        typed, values = is_structured(path.name), {}
        raise_invalid(content)
        for name, place in places.items():
            column = content.columns[place]
            if not len(column):
                raise DataError("there is no data: the file holds no recommendations")
            with column_context(place):
                if name == SCORE:
                    found = min((as_scores(column, mark, typed=typed) for mark in marks), key=lambda one: one.bad.sum())
                else:
                    found = as_ids(column, kinds.get(name), typed=typed, name=f"{path}, column {place!r}")
            refuse(content, place, found.bad, found.why)
            values[name] = series_of(found.values)
        refuse(content, RANK, values[RANK] < 1, "not a rank: ranks start at 1")
    return pd.DataFrame(values)


def _layout_of(path: Path, file: ListFile) -> Layout:
    """`layout_of`, whose error about a missing column says which ones lists need."""
    try:
        return layout_of(path, file)
    except UnrecognisedError as error:
        needed = f"lists need the columns {file.user}, {RANK} and {file.item}"
        raise DataError(f"{error}; {needed}; a card may have other names for users and items, but not for the rank") from None
