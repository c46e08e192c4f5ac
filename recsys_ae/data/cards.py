"""Dataset cards: where data comes from, what it must hash to, and what its columns mean."""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, Field, StrictInt, model_validator

import recsys_ae
from recsys_ae.data.places import file_name, inside, web_address
from recsys_ae.data.reading import COMPRESSED
from recsys_ae.declaration import Declared, Name, is_file, read_yaml, validate
from recsys_ae.errors import ConfigError, did_you_mean, quoted, shortened
from recsys_ae.events import LARGEST_RATING, Duplicates
from recsys_ae.features import Kind
from recsys_ae.times import TimeUnit

Place = str | int  # of a column: its name, or its number from 1 where the file has no header


def file_kind(path: str) -> Literal["parquet", "lines", "text"]:
    """What a file holds by its ending, apart from that of its compression; `lines` are JSON objects, one a line."""
    plain = path.lower()
    for ending in COMPRESSED:
        plain = plain.removesuffix(ending)
    return "parquet" if plain.endswith(".parquet") else "lines" if plain.endswith((".jsonl", ".ndjson")) else "text"


def is_structured(path: str) -> bool:
    """Whether a file names its columns itself, so that there is nothing to declare about separators and headers."""
    return file_kind(path) != "text"


class Columns(Declared):
    """Which column is which."""

    user: Place
    item: Place
    rating: Place | None = None
    time: Place | None = None


def _known_encoding(name: str) -> str:
    try:
        "".encode(name)
    except (LookupError, ValueError) as error:
        raise ValueError(f"unknown encoding {quoted(name)}: Python has no such codec of text") from error
    return name


def _date_format(text: str) -> str:
    try:
        parsed = pd.to_datetime(datetime(2001, 2, 3, 4, 5, 6).strftime(text), format=text)
        if not isinstance(parsed, pd.Timestamp) or parsed.year != 2001:
            raise ValueError("it has no year")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{quoted(text)} is no format of dates as for `strptime`, such as '%d.%m.%Y %H:%M': {error}") from None
    return text


DateFormat = Annotated[str, AfterValidator(_date_format)]


class FileLayout(Declared):
    """Layout of a file. Its ending says what it is: `.parquet`, `.jsonl` or `.ndjson`, or else text, also compressed.

    Attributes:
        separator: of text; None: found in the first line.
        header: whether the first line of text names the columns.
        quote: what fields of text may be enclosed in, as in RFC 4180; `none`: nothing, quotation marks are text. None: `"`
            between commas or semicolons, elsewhere nothing.
        encoding: of text, a codec of Python. None: UTF-8, or what its byte order mark says.
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
            raise ValueError(f"columns of {self.path} must be given by {'name' if self.named() else 'place (1, 2, ...)'}")
        if any(isinstance(place, int) and place < 1 for place in self.places()):
            raise ValueError(f"column places of {self.path} count from 1")
        if self.separator is not None and self.separator == self.quote:
            raise ValueError(f"separator and quote of {self.path} are the same")
        return self


class Table(FileLayout):
    """A file of ratings or events.

    Attributes:
        time_unit: of times that are numbers since 1970.
        date_format: of times, as for `strptime`; None: ISO 8601 or numbers.
        bad_lines: whether an invalid line (or row) is an error, or is skipped and reported.
    """

    columns: Columns
    time_unit: TimeUnit = "s"
    date_format: DateFormat | None = None
    bad_lines: Literal["error", "skip"] = "error"

    def places(self) -> list[Place]:
        return [place for place in self.columns.model_dump().values() if place is not None]

    @model_validator(mode="after")
    def _columns_differ(self) -> "Table":
        if len(set(self.places())) < len(self.places()):
            raise ValueError(f"two columns of {self.path} are the same")
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
                raise ValueError(f"`{key}` is for {kind} features, this one is {self.kind}")
        if self.flags and (self.pattern or self.separator):
            raise ValueError("`pattern` and `separator` are for a feature in one `column`, not for `flags`")
        try:
            groups = re.compile(self.pattern or "()").groups
        except re.error as error:
            raise ValueError(f"`pattern` is not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"`pattern` needs one group, the part to keep, and has {groups}")
        return self


class FeatureFile(FileLayout):
    """A file with one row of features per user or item; `id` is the column of its id."""

    id: Place
    columns: dict[Annotated[str, Field(pattern="^[^=:]+$")], FeatureDeclaration] = Field(min_length=1)

    def places(self) -> list[Place]:
        declared = (place for feature in self.columns.values() for place in (feature.column, *feature.flags.values()))
        return [self.id, *(place for place in declared if place is not None)]


class Source(Declared):
    """A download of at most `max_gb` gigabytes, also when unpacked.

    `md5` is that of the file as downloaded; with `unpack: zip` its members are kept instead of it.
    """

    url: Annotated[str, AfterValidator(web_address)]
    md5: str | None = None
    unpack: Literal["zip"] | None = None
    path: Annotated[str, AfterValidator(inside)] | None = None
    max_gb: float = Field(4, gt=0, le=10_000)

    @property
    def name(self) -> str:
        """The file in the cache."""
        return self.path or file_name(self.url)

    @model_validator(mode="after")
    def _has_a_place(self) -> "Source":
        if (self.path is None) == (self.unpack is None):
            raise ValueError("a source needs either `path` (a single file) or `unpack` (an archive)")
        if self.name.endswith((".part", ".lock")):
            raise ValueError(f"{quoted(self.name)}: the endings .part and .lock are taken")
        return self


SPLIT_FILES = ("train", "test", "flags")


class GivenSplit(Declared):
    """A published split: two files with the layout of the ratings, or a true/false column aligned with them."""

    train: str | None = None
    test: str | None = None
    flags: str | None = None
    column: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "GivenSplit":
        if [key for key, value in self.model_dump().items() if value] not in (["train", "test"], ["flags", "column"]):
            raise ValueError("a given split needs either `train` and `test`, or `flags` and `column`")
        return self


class _Card(Declared):
    name: Name
    kind: str
    title: str = ""
    licence: str = ""
    citation: str = ""


class FileCard(_Card):
    """Data in files, whose MD5 by path are `checksums` (of compressed files those of their content).

    A card without `sources` has its files in `folder`, relative to the card; None is the card's own folder. It reads files from
    wherever it says; one with `sources` writes, and its paths cannot leave the folder of downloads.
    """

    folder: str | None = None
    sources: list[Source] = Field(default_factory=list)
    checksums: dict[str, str] = Field(default_factory=dict)

    def paths(self) -> dict[str, str | None]:
        """The files that the card names, by key."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _paths_stay_inside(self) -> "FileCard":
        for key, path in [*self.paths().items(), ("folder", self.folder), *(("checksums", path) for path in self.checksums)]:
            try:
                if path is not None and self.sources:
                    inside(path)
                elif "\0" in (path or ""):
                    raise ValueError(f"{quoted(path)} is not a path")
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        return self


class CoreSizes(Declared):
    """The fewest users of an item and items of a user, see `data.core.k_core`."""

    users: Annotated[StrictInt, Field(ge=1)] = 1  # items of each user
    items: Annotated[StrictInt, Field(ge=1)] = 1  # users of each item


class RatingsCard(FileCard):
    """Ratings in the first of `files` that exists. `features` are read only on request."""

    kind: Literal["ratings"]
    files: list[Table] = Field(min_length=1)
    ids: dict[Literal["user", "item"], Literal["int", "str"]] = Field(default_factory=dict)
    features: dict[Literal["users", "items"], FeatureFile] = Field(default_factory=dict)
    scale: tuple[float, float] | None = None
    duplicates: Duplicates = "error"
    k_core: Annotated[StrictInt, Field(ge=1)] | CoreSizes | None = None
    splits: dict[str, GivenSplit] = Field(default_factory=dict)

    def paths(self) -> dict[str, str | None]:
        files = {f"files.{number}.path": table.path for number, table in enumerate(self.files)}
        features = {f"features.{side}.path": file.path for side, file in self.features.items()}
        given = {f"splits.{name}.{key}": getattr(split, key) for name, split in self.splits.items() for key in SPLIT_FILES}
        return {**files, **features, **given}

    @model_validator(mode="after")
    def _scale_goes_up(self) -> "RatingsCard":
        if self.scale is not None and not -LARGEST_RATING <= self.scale[0] < self.scale[1] <= LARGEST_RATING:
            raise ValueError(f"the scale must go up, within +-{LARGEST_RATING:g}, got {list(self.scale)}")
        return self

    @model_validator(mode="after")
    def _rows_of_splits_stay(self) -> "RatingsCard":
        skips = any(table.bad_lines == "skip" for table in self.files)
        if skips and any(split.flags for split in self.splits.values()):
            raise ValueError("`bad_lines: skip` would shift the rows that the `flags` of a split mark; use one of them")
        if self.k_core is not None and self.splits:
            raise ValueError("`k_core` would change the parts of the published `splits`; use a card of its own for it")
        return self


class PlantedCard(_Card):
    """Generated ratings with a known noise floor; see `data.synthetic.planted_ratings`."""

    kind: Literal["planted-ratings"]
    users: int = Field(1000, ge=2, le=10_000_000)
    items: int = Field(600, ge=2, le=10_000_000)
    ratings: int = Field(60_000, ge=1)
    factors: int = Field(6, ge=1, le=100)
    noise: float = Field(0.6, gt=0)
    seed: int = 0


class IdxCard(FileCard):
    """Images in the IDX format of MNIST; `white` is the pixel value that becomes 1."""

    kind: Literal["idx-images"]
    train_images: str
    train_labels: str
    test_images: str
    test_labels: str
    white: int = Field(255, ge=255)

    def paths(self) -> dict[str, str | None]:
        return {key: getattr(self, key) for key in ("train_images", "train_labels", "test_images", "test_labels")}


class DigitsCard(_Card):
    """The 1,797 scanned 8 x 8 digits that scikit-learn ships."""

    kind: Literal["digits"]


class ImageFolderCard(_Card):
    """PNG and JPEG files of one size below `folder`, relative to the card; if they lie in several folders, each is a class.

    What is transparent shows `background`: white, black, or a grey from 0 to 255.
    """

    kind: Literal["image-folder"]
    folder: str
    background: Literal["white", "black"] | Annotated[int, Field(ge=0, le=255)] = "white"


Card = Annotated[RatingsCard | PlantedCard | IdxCard | DigitsCard | ImageFolderCard, Field(discriminator="kind")]
IMAGE_KINDS = ("idx-images", "digits", "image-folder")


def declared_folder(name: str) -> Path:
    """The top-level folder `datasets` or `pipelines`: inside the installed package, or beside it in a checkout."""
    package = Path(recsys_ae.__file__).parent
    installed = package / "declared" / name
    return installed if installed.is_dir() else package.parent / name


def shipped_cards() -> dict[str, Path]:
    """Name -> file of the cards that come with the package."""
    return {path.stem: path for path in sorted(declared_folder("datasets").glob("*.yaml"))}


def read_card(name_or_path: str, folder: Path = Path()) -> tuple[Any, Path]:
    """The shipped card `name_or_path`, or the card in the file of that path relative to `folder`, and the folder it lies in.

    Raises:
        ConfigError: no such card, or an invalid one.
    """
    shipped = shipped_cards()
    path = shipped.get(name_or_path, folder / name_or_path)
    if not is_file(path):
        if path.suffix or os.sep in name_or_path:
            raise ConfigError(f"there is no dataset card {shortened(str(path), 200)}")
        raise ConfigError(f"unknown dataset {quoted(name_or_path)}; {did_you_mean(name_or_path, shipped)}")
    return validate(Card, read_yaml(path), str(path)), path.parent
