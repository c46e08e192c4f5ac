"""Detection of a file's layout from its first line: separator, header, and which column is which."""

import codecs
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow.parquet as pq

from recsys_ae.data.layouts import FileLayout, Place, Table, file_kind
from recsys_ae.data.reading import check_is_text, reading, unpacked
from recsys_ae.data.text import BLOCK, MARKS, Dialect, Line, decoded, default_quote, lines
from recsys_ae.declaration import validate
from recsys_ae.errors import DataError, UnrecognisedError, did_you_mean, quoted, shortened

T = TypeVar("T")
SEPARATORS = ("::", "\t", ";", ",", "|")  # tried in this order
UNUSUAL_SEPARATOR = re.compile(r"[!#$%&*+<=>?\\^~]| ")  # not @, which is in addresses that are ids
RECBOLE_TYPES = ("token", "float", "token_seq", "float_seq")
USUAL_NAMES = {
    "user": {"user", "userid", "visitorid", "customerid"},
    "item": {"item", "itemid", "movie", "movieid", "productid", "trackid"},
    "rating": {"rating", "ratings", "stars", "score", "count", "value", "weight"},
    "time": {"time", "timestamp", "date", "datetime"},
    "session": {"session", "sessionid"},
}
EMPTY_FILE = "there is no data: the file is empty"
ROLES = ("user", "item", "rating", "time")  # in this order if there is no header


class Layout(NamedTuple):
    """How to read a file: the names of its columns (1, 2, ... without a header), and for text the rest."""

    names: list[str]
    dialect: Dialect | None = None
    skip: int = 0  # lines before the data

    def place(self, column: Place) -> int:
        """Position from 0 of a declared column; `DataError` if there is none of this name, or several."""
        found = [at for at, name in enumerate(self.names) if name == str(column)]
        if not found:  # RecBole's headers say name:type
            found = [at for at, name in enumerate(self.names) if _plain(name) == str(column)]
        if len(found) != 1:
            if found:
                raise DataError(f"{len(found)} columns are called {quoted(column)}; rename all but one")
            raise UnrecognisedError(f"there is no column {quoted(column)}; {did_you_mean(str(column), self.names)}")
        return found[0]


def layout_of(path: Path, file: FileLayout) -> Layout:
    """The layout of a file: what `file` declares, and the rest from its first line.

    Raises:
        DataError: no such file, an empty one, or one without a declared column.
    """
    with reading(path):
        if (kind := file_kind(path.name)) != "text":
            layout = Layout(_stored_names(path, kind))
            names = ", ".join(layout.names)
            for column in file.places():
                if isinstance(column, int):
                    raise DataError(
                        f"columns are declared by number, but this kind of file names them: {shortened(names, 300)}"
                    )
                layout.place(column)
            return layout
        return _first_fitting(path, file, partial(_text_layout, path, file))


def text_encoding(path: Path, declared: str | None) -> str | None:
    """The encoding that is `declared` for another file, if this one is text that is not UTF-8; None otherwise.

    What programs write about a log in an old encoding, such as lists of recsys-ae, is often UTF-8.
    """
    if declared is None or file_kind(path.name) != "text":
        return None
    decoder, first = codecs.getincrementaldecoder("utf-8")(), True
    with unpacked(path) as content:
        while block := content.read(BLOCK):
            if first and block.startswith(tuple(MARKS)):
                return None
            first = False
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return declared
            if b"\0" in block:  # as in UTF-16
                return declared
    return declared if decoder.getstate()[0] else None


def fits(path: Path, file: FileLayout) -> bool:
    """Whether a file has the columns of a layout."""
    try:
        layout_of(path, file)
    except DataError:
        return False
    return True


def guess_table(path: Path, **declared: Any) -> Table:
    """The layout of a file without a card: Parquet, JSON lines, or text separated by `::`, tab, semicolon, comma or `|`.

    With a header (or in Parquet), columns are recognised by their usual names (user_id, userId, user, movieId, ...), also in
    RecBole's form `user_id:token`; if there is a session column but no user column, each session is a user. Without a header,
    columns are user, item, rating, time in this order, as in MovieLens files.

    Args:
        declared: keys of a file on a card that are known, such as `encoding` or `columns`.

    Raises:
        ConfigError: an unknown key, or a value that it does not allow.
        UnrecognisedError: a header in which the user or item column is not recognised.
        DataError: no such file, or an empty one.
    """
    with reading(path):
        if "columns" in declared:
            return validated(path, declared)
        if (kind := file_kind(path.name)) != "text":
            return validated(path, declared | {"columns": _recognise(_stored_names(path, kind))})
        base = validated(path, {"columns": {"user": "user", "item": "item"}} | declared | {"header": True})
        return _first_fitting(path, base, lambda separator: validated(path, declared | _guess(path, base, separator, declared)))


def validated(path: Path, declared: dict[str, Any]) -> Table:
    """The `Table` that is declared for a file."""
    table: Table = validate(Table, {"path": path.name} | declared, str(path))
    return table


def columns_like(names: Sequence[str], usual_names: Mapping[str, Collection[str]] = USUAL_NAMES) -> dict[str, list[str]]:
    """For each role, the names that look like it."""
    plain = {name: _plain(name).lower().replace("_", "").replace(" ", "") for name in names}
    return {role: [name for name in names if plain[name] in usual] for role, usual in usual_names.items()}


def _guess(path: Path, base: Table, separator: str, declared: dict[str, Any]) -> dict[str, Any]:
    """Separator, header and columns of text with a given separator."""
    number, fields = _first_decoded(path, _dialect(base, separator))
    known, header = columns_like(fields), declared.get("header")
    if header or (header is None and ((known["user"] and known["item"]) or not any(map(_is_number, fields)))):
        return {"separator": separator, "header": True, "columns": _recognise(fields)}
    if len(fields) < 2:
        raise DataError(f"{path}, line {number}: expected at least a user and an item, got {quoted(separator.join(fields))}")
    places = dict(zip(ROLES, range(1, len(fields) + 1), strict=False))
    return {"separator": separator, "header": False, "columns": places}


def _first_fitting(path: Path, file: FileLayout, attempt: Callable[[str], T]) -> T:
    """`attempt` with the declared separator, else with the first one that works; raises the first error if none does.

    If none of them divides the first line into columns, the error is about the separator.
    """
    problem: DataError | None = None
    for separator in SEPARATORS if file.separator is None else [file.separator]:
        try:
            if file.separator is None and len(_first(path, _dialect(file, separator)).fields) == 1:
                continue
            return attempt(separator)
        except DataError as error:
            problem = problem or error
    if problem is None:
        try:
            return attempt(",")
        except DataError as error:
            problem = error
    raise _undivided(path, file) or problem


def _undivided(path: Path, file: FileLayout) -> DataError | None:
    """The error about a file whose first line has one column, but seems to contain another separator; None otherwise."""
    content, *others = _first(path, _dialect(file, file.separator or ",")).fields
    found = [separator for separator in SEPARATORS if separator in content]
    if file.separator is None:  # these have been tried
        is_name = any(columns_like([content]).values())  # such as "user id"
        found = [] if found or is_name else UNUSUAL_SEPARATOR.findall(content)
    if others or not found or not decoded(content) or content.startswith(("{", "[")):
        return None
    return DataError(
        f"the file has only one column, {quoted(content)}; if its separator is {found[0]!r}, declare it (key separator)"
    )


def _dialect(file: FileLayout, separator: str) -> Dialect:
    quote = default_quote(separator) if file.quote is None else None if file.quote == "none" else file.quote
    return Dialect(separator, quote, file.encoding)


def _first(path: Path, dialect: Dialect) -> Line:
    """The first record that is not empty."""
    for line in lines(path, dialect):
        return line
    raise DataError(EMPTY_FILE)


def _first_decoded(path: Path, dialect: Dialect) -> Line:
    line = _first(path, dialect)
    if not all(map(decoded, line.fields)):
        raise DataError(f"{path}, line {line.number}: {undecodable(line.fields, dialect)}")
    return line


def undecodable(fields: Sequence[str], dialect: Dialect) -> str:
    """The message about a record with a field that is not in the encoding."""
    at = next(at for at, field in enumerate(fields) if not decoded(field))
    raw = fields[at].encode("utf-8", "surrogateescape")
    encoding = dialect.encoding or "UTF-8"
    try:  # not latin-1, which has control characters where Windows has quotation marks, dashes and the euro
        raw.decode("cp1252")
        example = ", such as encoding: cp1252"
    except UnicodeDecodeError:
        example = ""
    return f"column {at + 1} holds {quoted(raw)}, which is not {encoding}; declare the encoding{example}"


def _text_layout(path: Path, file: FileLayout, separator: str) -> Layout:
    dialect = _dialect(file, separator)
    first = _first_decoded(path, dialect)
    names = first.fields if file.header else [str(place) for place in range(1, len(first.fields) + 1)]
    layout = Layout(names, dialect, first.number if file.header else 0)
    for column in file.places():
        layout.place(column)
    return layout


def _stored_names(path: Path, kind: str) -> list[str]:
    if kind == "parquet":
        if path.suffix.lower() != ".parquet":
            raise DataError("a compressed Parquet file cannot be read; unpack it first")
        if not path.stat().st_size:
            raise DataError(EMPTY_FILE)
        return list(pq.read_schema(path).names)
    first = b""
    with unpacked(path) as content:
        check_is_text(content.peek(16))
        for raw in islice(content, 1000):
            try:
                record = json.loads(raw) if raw.strip() else None
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict):
                return list(record)
            first = first or raw.strip()
    found = f"; it begins with {quoted(first, limit=60)}" if first else ""
    raise DataError(f"there is no data: the file has no JSON objects, one per line, in UTF-8{found}")


def _plain(name: str) -> str:
    """A name without the type that RecBole adds to it: user_id of user_id:token."""
    plain, _, kind = name.rpartition(":")
    return plain if kind in RECBOLE_TYPES else name


def _recognise(names: Sequence[str]) -> dict[str, str]:
    found = columns_like(names)
    other = [name for name in names if _plain(name) == name and ":" in name]
    if other and len(other) < len(names) and all(":" in name for name in names):
        wanted = f"RecBole's types are {', '.join(RECBOLE_TYPES)}; rename it, or declare the columns in a card"
        raise DataError(f"column {quoted(other[0])} has the unknown type {quoted(other[0].rpartition(':')[2])}; {wanted}")
    if not found["user"]:  # anonymous sessions
        found["user"], found["session"] = found["session"], []
    for role, matching in found.items():
        if not matching and role in ("user", "item"):
            columns = shortened(", ".join(names), 300)
            is_json = names[0].startswith(("{", "["))
            hint = "if this is JSON, name it .jsonl" if is_json else "declare it in a card"
            message = f"no column is recognised as the {role} id; {hint}; the columns are {columns}"
            raise DataError(message) if is_json else UnrecognisedError(message)
        if len(matching) > 1:
            raise UnrecognisedError(f"columns {' and '.join(map(quoted, matching))} could be the {role}; declare one in a card")
    return {role: matching[0] for role, matching in found.items() if matching}


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
