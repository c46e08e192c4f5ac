"""What a page consists of: sections of blocks, which the template shows without knowing what they are about."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from recsys_ae.reporting.html.charts import Record, Spec
from recsys_ae.reporting.tables import BELOW, Cell


@dataclass(frozen=True)
class Shown:
    """A cell of a table.

    Attributes:
        text: what it says; the first column holds names.
        note: shown after it in small type, such as half of an interval.
        letters: shown after the note, with the same width in all rows.
        sort: by which the table is sorted; None is last.
        strong: one of the best.
        mark: a symbol before it, and `meaning` what it stands for.
    """

    text: str
    note: str = ""
    letters: str = ""
    sort: float | str | None = None
    strong: bool = False
    mark: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Grid:
    """A table; `about` names it. The page can sort it if it is `sortable`."""

    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Shown]]
    sortable: bool = False
    hints: Mapping[str, str] = field(default_factory=dict)  # a few words below a column's name
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True)
class Chart:
    """A chart, in one sentence and as a table."""

    title: str
    message: str
    spec: Spec
    table: Grid
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True)
class Charts:
    """Charts side by side; `models` are those of their colours."""

    charts: Sequence[Chart]
    models: Sequence[str] = ()
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True)
class Notes:
    """Sentences, under a heading if there is a title."""

    lines: Sequence[str]
    title: str = ""
    kind: ClassVar[str] = "notes"


@dataclass(frozen=True)
class Facts:
    """Terms and their values."""

    pairs: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Picture:
    """A PNG image; `pixelated` if each pixel is a value."""

    alt: str
    caption: str
    data: bytes
    pixelated: bool = False
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Pictures:
    """Images side by side under a heading."""

    title: str
    pictures: Sequence[Picture]
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Raw:
    """A text that can be unfolded."""

    title: str
    text: str
    kind: ClassVar[str] = "raw"


@dataclass(frozen=True)
class Lists:
    """The explorer; `content` is JSON for the page's script."""

    content: Mapping[str, Any]
    kind: ClassVar[str] = "lists"


Block = Grid | Charts | Notes | Facts | Pictures | Raw | Lists


@dataclass(frozen=True)
class Section:
    """A part of the page with an anchor `id`."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A page: what it is about, its message in a sentence of parts (strong or not), key facts, and its sections."""

    title: str
    kicker: str
    message: Sequence[tuple[str, bool]]
    facts: Facts
    sections: Sequence[Section]


def shown(cell: Cell) -> Shown:
    """The cell of a metric."""
    mark, meaning = (BELOW, "worse than the baseline: ") if cell.below and cell.value is not None else ("", "")
    text = cell.number.removeprefix(BELOW)
    return Shown(text, cell.spread, cell.letters, cell.value, cell.best and cell.value is not None, mark, meaning)


def interval_records(cells: Mapping[str, Cell]) -> list[Record]:
    """The records of a chart of `intervals`, from the cells of a metric by model; models without a value are left out."""
    return [
        {
            "model": model,
            "value": cell.value,
            "low": cell.value - (cell.half or 0),
            "high": cell.value + (cell.half or 0),
            "label": f"{model}: {cell.number} {cell.spread}",
        }
        for model, cell in cells.items()
        if cell.value is not None
    ]


def number(value: float | None, form: str = ".4f") -> Shown:
    """The cell of a number."""
    return Shown("-") if value is None else Shown(format(value, form), sort=float(value))


def duration(seconds: float | None) -> Shown:
    """The cell of a number of seconds: tenths, of less than a second two significant digits."""
    return number(seconds, ".1f" if seconds is None or seconds >= 1 else ".2g")


def name(text: str) -> Shown:
    """The cell of a name."""
    return Shown(text, sort=text)


def plain(about: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str = ".4f") -> Grid:
    """A table of names and numbers."""
    cells = [[name(one) if isinstance(one, str) else number(one, form) for one in row] for row in rows]
    return Grid(about, columns, cells)
