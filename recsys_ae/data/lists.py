"""Reading of recommendations from a single file of any origin, by the same rules as logs."""

from pathlib import Path

import pandas as pd

from recsys_ae.data.content import TEXT, raise_invalid, read_content, refuse
from recsys_ae.data.conversion import as_ids, as_scores, series_of
from recsys_ae.data.detection import layout_of
from recsys_ae.data.layouts import FileLayout, Place, is_structured
from recsys_ae.data.reading import column_context, reading
from recsys_ae.data.tables import IdTypes
from recsys_ae.errors import DataError

COLUMNS: list[Place] = ["user_id", "rank", "item_id"]
SCORE = "score"


class ListFile(FileLayout):
    """The layout of a file of lists, whose columns have fixed names."""

    def places(self) -> list[Place]:
        return COLUMNS


def read_lists(path: Path, ids: IdTypes | None = None) -> pd.DataFrame:
    """Columns user_id, rank, item_id and, if there, score of a Parquet or text file, or of JSON lines, also compressed.

    Ids are int64 or text by the same rules as in logs, ranks int64 from 1, scores float32. In text separated by semicolons,
    scores may have decimal commas.

    Args:
        ids: declared id types, see `data.tables.read_table`.

    Raises:
        DataError: no such file or column, no rows, or an invalid line (or row), with its number and content.
    """
    with reading(path):
        layout = ListFile(path=path.name)
        names, dialect, _ = layout_of(path, layout)
        marks = ".," if dialect is not None and dialect.separator == ";" else "."
        scores = [SCORE] if SCORE in names else []
        content = read_content(path, layout, dict.fromkeys([*COLUMNS, *scores], TEXT))
        kinds = {f"{role}_id": kind for role, kind in (ids or {}).items()} | {"rank": "int"}
        typed, values = is_structured(path.name), {}
        raise_invalid(content)
        for name in [*COLUMNS, *scores]:
            column = content.columns[name]
            if not len(column):
                raise DataError("there is no data: the file holds no recommendations")
            with column_context(name):
                if name == SCORE:
                    found = min((as_scores(column, mark, typed=typed) for mark in marks), key=lambda one: one.bad.sum())
                else:
                    found = as_ids(column, kinds.get(str(name)), typed=typed, name=f"{path}, column {name!r}")
            refuse(content, name, found.bad, found.why)
            values[str(name)] = series_of(found.values)
        refuse(content, "rank", values["rank"] < 1, "not a rank: ranks start at 1")
    return pd.DataFrame(values)
