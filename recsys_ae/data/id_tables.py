"""Reading tables of ids, such as lists of items or of pairs of users and items, by the same rules as logs."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd
from pydantic import Field

from recsys_ae.data.content import TEXT, raise_invalid, read_content, refuse
from recsys_ae.data.conversion import as_ids, series_of
from recsys_ae.data.detection import USUAL_NAMES, columns_like, layout_of, text_encoding
from recsys_ae.data.layouts import FileLayout, Place, TitleFile, is_structured
from recsys_ae.data.reading import column_context, reading
from recsys_ae.errors import DataError, quoted, shortened

ROLES = {"user": USUAL_NAMES["user"], "item": USUAL_NAMES["item"], "category": {"category"}, "title": {"title"}}
COLUMNS = {"user": "user_id", "item": "item_id", "category": "category", "title": "title"}  # in messages and results


class IdFile(FileLayout):
    """The layout of a file of ids, whose columns are recognised by their names."""

    columns: dict[str, Place] = Field(default_factory=dict)

    def places(self) -> list[Place]:
        return list(self.columns.values())


def column_names(path: Path, encoding: str | None = None) -> list[str]:
    """The names of the columns of a file; of text, the first line."""
    with reading(path):
        return layout_of(path, IdFile(path=path.name, encoding=encoding)).names


def read_ids(
    path: Path,
    kinds: Mapping[str, str | None],
    optional: str | None = None,
    own_names: Mapping[str, Place | None] = MappingProxyType({}),
    encoding: str | None = None,
) -> pd.DataFrame:
    """Columns of ids in a file with named columns: Parquet, JSON lines or text with a header, also compressed.

    Columns are recognised by their usual names, as in logs without a card; others are ignored.

    Args:
        kinds: role of each column (`user`, `item`, `category`) -> type of its ids, "int" or "str"; None: that of the file.
        optional: the role that may be missing.
        own_names: role -> column name that a card declares, which takes precedence over the usual ones.
        encoding: that a card declares, see `text_encoding`.

    Returns:
        The columns user_id, item_id, category that were asked for and found; int64 or text. There may be no rows.

    Raises:
        DataError: no such file or column, or an invalid line (or row), with its number and content.
    """
    with reading(path):
        encoding = text_encoding(path, encoding)
        names = column_names(path, encoding)
        own = {role: [str(name)] for role, name in own_names.items() if name in names}
        found = columns_like(names, ROLES) | own
        places = {role: _only(found[role], role, names, role == optional) for role in kinds}
        columns: dict[str, Place] = {role: name for role, name in places.items() if name is not None}
        file = IdFile(path=path.name, columns=columns, encoding=encoding)
        content = read_content(path, file, dict.fromkeys(columns.values(), TEXT))
        raise_invalid(content)
        values = {}
        for role, place in columns.items():
            typed, label = is_structured(path.name), f"{path}, column {place!r}"
            with column_context(place):
                ids = as_ids(content.columns[place], kinds[role], typed=typed, name=label)
            refuse(content, place, ids.bad, ids.why)
            values[COLUMNS[role]] = series_of(ids.values)
    return pd.DataFrame(values)


def read_titles(path: Path, kind: str, layout: TitleFile | None = None) -> pd.DataFrame:
    """The columns item_id and title of a file; rows with an empty title are left out.

    Args:
        kind: type of the ids, "int" or "str".
        layout: which columns these are; None: they are recognised by their names.

    Raises:
        DataError: as for `read_ids`, or an item has several rows.
    """
    with reading(path):
        layout = layout or titles_like(path)
        item, title = layout.id, layout.title
        content = read_content(path, layout, {item: TEXT, title: TEXT})
        raise_invalid(content)
        typed, stored = is_structured(path.name), content.columns[title]
        with column_context(item):
            ids = as_ids(content.columns[item], kind, typed=typed)
        refuse(content, item, ids.bad, ids.why)
        own = series_of(ids.values)
        refuse(content, item, own.duplicated(), "a repeated id; give each item one title")
        with column_context(title):
            texts = as_ids(stored, "str", typed=typed)
        empty = (stored.to_pandas().isna() | (stored.to_pandas().astype(object) == "")).to_numpy()
        refuse(content, title, texts.bad & ~empty, "not text")
        frame = pd.DataFrame({"item_id": own, "title": series_of(texts.values)})
    return frame[~empty].reset_index(drop=True)


def titles_like(path: Path) -> TitleFile:
    """The layout of a file of titles with named columns."""
    names = column_names(path)
    found = columns_like(names, ROLES)
    try:
        item, title = (str(_only(found[role], role, names, False)) for role in ("item", "title"))
    except DataError as error:
        raise DataError(f"{error}; or declare the file under the key `titles` of a card") from None
    return TitleFile(path=path.name, id=item, title=title)


def _only(found: list[str], role: str, names: list[str], optional: bool) -> str | None:
    """The only column of a role."""
    if len(found) == 1 or (not found and optional):
        return found[0] if found else None
    if found:
        raise DataError(f"columns {' and '.join(map(quoted, found))} could be the {role}; rename all but one")
    columns = shortened(", ".join(names), 300)
    raise DataError(
        f"no column is recognised as the {role}; name one {COLUMNS[role]} in the first line, whose columns are {columns}"
    )
