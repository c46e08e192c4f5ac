"""Layouts of files as declared in cards: which column is which, and how text is written."""

import re
import warnings
from datetime import UTC, datetime
from typing import Annotated, Literal

import pandas as pd
from pydantic import AfterValidator, Field, model_validator

from recsys_ae.data.reading import COMPRESSED
from recsys_ae.declaration import Declared
from recsys_ae.errors import quoted
from recsys_ae.features import Kind
from recsys_ae.times import TimeUnit

Place = str | int  # a column: its name, or its number from 1 if the file has no header


def file_kind(path: str) -> Literal["parquet", "lines", "text"]:
    """The kind of a file by its ending, ignoring that of a compression; `lines` means JSON objects, one per line."""
    plain = path.lower()
    for ending in COMPRESSED:
        plain = plain.removesuffix(ending)
    return "parquet" if plain.endswith(".parquet") else "lines" if plain.endswith((".jsonl", ".ndjson")) else "text"


def is_structured(path: str) -> bool:
    """Whether the format itself has named columns, so that separator and header do not apply."""
    return file_kind(path) != "text"


class Columns(Declared):
    """Which column is which."""

    user: Place
    item: Place
    rating: Place | None = None
    time: Place | None = None
    session: Place | None = None


def _known_encoding(name: str) -> str:
    try:
        "".encode(name)
    except (LookupError, ValueError) as error:
        raise ValueError(f"unknown encoding {quoted(name)}; use one that Python knows, such as latin-1") from error
    return name


def _date_format(text: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.13 warns of formats without a year, refused below
            parsed = pd.to_datetime(datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC).strftime(text), format=text)
        if not isinstance(parsed, pd.Timestamp) or parsed.year != 2001:
            raise ValueError("it has no year")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{quoted(text)} is not a date format as for `strptime`, such as '%d.%m.%Y %H:%M': {error}") from None
    return text


DateFormat = Annotated[str, AfterValidator(_date_format)]


class FileLayout(Declared):
    """Layout of a file. Its ending decides the format: `.parquet`, `.jsonl` or `.ndjson`, else text; perhaps compressed.

    Attributes:
        separator: of text; None: found in the first line.
        header: whether the first line of text names the columns.
        quote: the quotation mark of text, as in RFC 4180; `none`: quotation marks are ordinary text. None: `"` if the
            separator is a comma or semicolon, else as for `none`.
        encoding: of text, a Python codec. None: that of the byte order mark, else UTF-8.
        decimal: the decimal mark of numbers in text.
    """

    path: str
    separator: Annotated[str, Field(min_length=1, pattern=r'^[^\r\n\x00"]+$')] | None = None
    header: bool = True
    quote: Literal['"', "'", "none"] | None = None
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    decimal: Literal[".", ","] = "."

    def places(self) -> list[Place]:
        """The columns that are read."""
        raise NotImplementedError

    def named(self) -> bool:
        """Whether columns have names, not numbers."""
        return self.header or is_structured(self.path)

    @model_validator(mode="after")
    def _columns_can_be_found(self) -> "FileLayout":
        if any(isinstance(place, int) == self.named() for place in self.places()):
            raise ValueError(f"columns of {self.path} must be declared by {'name' if self.named() else 'number (1, 2, ...)'}")
        if any(isinstance(place, int) and place < 1 for place in self.places()):
            raise ValueError(f"column numbers of {self.path} start at 1")
        if self.separator == self.decimal and self.quote == "none":
            raise ValueError(f"separator and decimal of {self.path} must differ")
        if self.separator is not None and self.separator == self.quote:
            raise ValueError(f"separator and quote of {self.path} must differ")
        return self


class Table(FileLayout):
    """A file of ratings or events.

    Attributes:
        time_unit: of times that are numbers since 1970.
        date_format: of times, as for `strptime`; None: ISO 8601 or numbers.
        bad_lines: whether an invalid line (or row) is an error, or is skipped and reported.
        skip_at_most: the largest share of lines (or rows) that may be skipped; of a file with few lines, up to 100 may be.
    """

    columns: Columns
    time_unit: TimeUnit = "s"
    date_format: DateFormat | None = None
    bad_lines: Literal["error", "skip"] = "error"
    skip_at_most: float = Field(0.05, ge=0, le=1)

    def places(self) -> list[Place]:
        return [place for place in self.columns.model_dump().values() if place is not None]

    @model_validator(mode="after")
    def _columns_differ(self) -> "Table":
        if len(set(self.places())) < len(self.places()):
            raise ValueError(f"`columns` of {self.path} name the same column twice")
        return self


class FeatureDeclaration(Declared):
    """How to read a feature: from one column, or for a `multi_label` also from 0/1 columns, given in `flags` by label.

    `pattern` is a regular expression whose group is the value; where it does not match, there is none. `format` is that of a
    date as for `strptime`, ISO 8601 if None. `separator` stands between the labels of a `multi_label`.
    """

    kind: Kind
    column: Place | None = None
    flags: dict[str, Place] = Field(default_factory=dict)
    pattern: str | None = None
    format: DateFormat | None = None
    separator: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "FeatureDeclaration":
        if (self.column is None) == (not self.flags):
            raise ValueError("a feature needs either `column` or `flags`")
        for key, kind in {"format": "date", "separator": "multi_label", "flags": "multi_label"}.items():
            if getattr(self, key) and self.kind != kind:
                raise ValueError(f"`{key}` is only for {kind} features, and this one is {self.kind}")
        if self.flags and (self.pattern or self.separator):
            raise ValueError("`pattern` and `separator` need a `column`; they do not apply to `flags`")
        try:
            groups = re.compile(self.pattern or "()").groups
        except re.error as error:
            raise ValueError(f"`pattern` is not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"`pattern` must have exactly one group, the part to keep, but has {groups}")
        return self


class TitleFile(FileLayout):
    """A file with the titles of items: the columns of their ids and of the titles."""

    id: Place
    title: Place

    def places(self) -> list[Place]:
        return [self.id, self.title]


class FeatureFile(FileLayout):
    """A file with one row of features per user or item.

    Attributes:
        id: the column of their ids.
        unrated: whether to drop those without interactions, or keep them, so that models that use features can score them.
    """

    id: Place
    unrated: Literal["drop", "keep"] = "drop"
    columns: dict[Annotated[str, Field(pattern="^[^=:]+$")], FeatureDeclaration] = Field(min_length=1)

    def places(self) -> list[Place]:
        declared = (place for feature in self.columns.values() for place in (feature.column, *feature.flags.values()))
        return [self.id, *(place for place in declared if place is not None)]
