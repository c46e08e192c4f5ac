"""Reading of recommendations from a single file of any origin, by the same rules as logs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys_ae.data.content import TEXT, raise_first, read_content
from recsys_ae.data.conversion import as_ids, series_of
from recsys_ae.data.layouts import FileLayout, Place, is_structured
from recsys_ae.data.reading import reading
from recsys_ae.errors import DataError, quoted

COLUMNS: list[Place] = ["user_id", "rank", "item_id"]


class ListFile(FileLayout):
    """The layout of a file of lists, whose columns have fixed names."""

    def places(self) -> list[Place]:
        return COLUMNS


def read_lists(path: Path) -> pd.DataFrame:
    """Columns user_id, rank and item_id of a Parquet, CSV or other text file, or of JSON lines, also compressed.

    Ids are int64 or text by the same rules as in logs (see `data.tables.read_table`), ranks int64 from 1.

    Raises:
        DataError: no such file or column, no rows, or an invalid line (or row), with its number and content.
    """
    with reading(path):
        content = read_content(path, ListFile(path=path.name), dict.fromkeys(COLUMNS, TEXT))
        typed, values = is_structured(path.name), {}
        raise_first(content, path)
        for name in COLUMNS:
            column = content.columns[name]
            if not len(column):
                raise DataError("there is no data: the file holds no recommendations")
            try:
                found = as_ids(column, "int" if name == "rank" else None, typed=typed, name=f"{path}, column {name!r}")
            except DataError as error:
                raise DataError(f"column {name!r} {error}") from None
            raise_first(content, path, np.flatnonzero(found.bad), partial(_describe, name, found.why))
            values[str(name)] = series_of(found.values)
        low = np.flatnonzero(values["rank"].to_numpy() < 1)
        raise_first(content, path, low, partial(_describe, "rank", lambda _: "not a rank: ranks start at 1"))
    return pd.DataFrame(values)


def _describe(name: Place, why: Callable[[Any], str], _: int, stored: Callable[[Place], Any]) -> str:
    return f"{name} {quoted(stored(name))} is {why(stored(name))}"
