"""Dataset cards: where data comes from, what it must hash to, and how its columns are to be understood."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from recsys_ae.data.locations import declared_folder
from recsys_ae.declaration import Declared, read_yaml, validate
from recsys_ae.errors import ConfigError, did_you_mean
from recsys_ae.events import Duplicates
from recsys_ae.features import Kind
from recsys_ae.times import TimeUnit


class Columns(Declared):
    """Which column is which: by name, or by place (from 1) where the file has no header."""

    user: str | int
    item: str | int
    rating: str | int | None = None
    time: str | int | None = None


class _File(Declared):
    """How a file is laid out. The ending `.parquet` decides between Parquet and text."""

    path: str
    separator: Annotated[str, Field(min_length=1)] = ","
    header: bool = True

    def _check_places(self, places: list[str | int]) -> None:
        by_place = not self.header and not self.path.endswith(".parquet")
        if any(isinstance(place, int) != by_place for place in places):
            raise ValueError(f"columns of {self.path} must be given by {'place (1, 2, ...)' if by_place else 'name'}")
        if any(isinstance(place, int) and place < 1 for place in places):
            raise ValueError(f"column places of {self.path} count from 1")


class Table(_File):
    """One way in which a file may hold ratings.

    `time_unit` is that of times that are numbers since 1970; dates need none.
    """

    columns: Columns
    time_unit: TimeUnit = "s"

    @model_validator(mode="after")
    def _columns_can_be_found(self) -> "Table":
        places = [place for place in self.columns.model_dump().values() if place is not None]
        self._check_places(places)
        if len(set(places)) < len(places):
            raise ValueError(f"two columns of {self.path} are the same")
        return self


class FeatureDeclaration(Declared):
    """How to read one feature: from a column, or as a `multi_label` from 0/1 columns, its `flags` by label.

    `pattern` keeps the group of a regular expression, and gives no value where it does not match; `format` is that of a
    date as `strptime` takes it, ISO 8601 if None; `separator` stands between the labels of a `multi_label`.
    """

    kind: Kind
    column: str | int | None = None
    flags: dict[str, str | int] = Field(default_factory=dict)
    pattern: str | None = None
    format: str | None = None
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


class FeatureFile(_File):
    """A file with one row of features per user or item, whose id is in column `id`."""

    id: str | int
    encoding: str = "utf-8-sig"
    columns: dict[Annotated[str, Field(pattern="^[^=:]+$")], FeatureDeclaration] = Field(min_length=1)

    @model_validator(mode="after")
    def _columns_can_be_found(self) -> "FeatureFile":
        self._check_places(self.places())
        return self

    def places(self) -> list[str | int]:
        """The columns that are read: names, or numbers from 1."""
        ones = self.columns.values()
        return [self.id, *(place for one in ones for place in (one.column, *one.flags.values()) if place is not None)]


class Source(Declared):
    """A download. `md5` is that of the file as downloaded; with `unpack: zip` its members are what is kept."""

    url: str
    md5: str | None = None
    unpack: Literal["zip"] | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _has_a_place(self) -> "Source":
        if (self.path is None) == (self.unpack is None):
            raise ValueError("a source needs either `path` (a single file) or `unpack` (an archive)")
        return self


class GivenSplit(Declared):
    """A split that came with the data: two files laid out like the ratings, or a true/false column aligned with them."""

    train: str | None = None
    test: str | None = None
    flags: str | None = None
    column: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "GivenSplit":
        as_files, as_flags = (self.train, self.test), (self.flags, self.column)
        if not ((all(as_files) and not any(as_flags)) or (all(as_flags) and not any(as_files))):
            raise ValueError("a given split needs either `train` and `test`, or `flags` and `column`")
        return self


class _Described(Declared):
    name: str
    title: str = ""
    licence: str = ""
    citation: str = ""


class RatingsCard(_Described):
    """Ratings in files. Of `files`, the first that exists is read; `checksums` are MD5 by path.

    `features` are read only when they are asked for. A card without `sources` has its files in `folder`, relative to
    the card; beside it if none is given.
    """

    kind: Literal["ratings"]
    files: list[Table] = Field(min_length=1)
    folder: str | None = None
    ids: dict[Literal["user", "item"], Literal["int", "str"]] = Field(default_factory=dict)
    features: dict[Literal["users", "items"], FeatureFile] = Field(default_factory=dict)
    scale: tuple[float, float] | None = None
    duplicates: Duplicates = "error"
    sources: list[Source] = Field(default_factory=list)
    checksums: dict[str, str] = Field(default_factory=dict)
    splits: dict[str, GivenSplit] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _scale_goes_up(self) -> "RatingsCard":
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError(f"the scale must go up, got {list(self.scale)}")
        return self


class PlantedCard(_Described):
    """Generated ratings whose lowest reachable error is known; see `data.synthetic.planted_ratings`."""

    kind: Literal["planted-ratings"]
    users: int = Field(1000, ge=2)
    items: int = Field(600, ge=2)
    ratings: int = Field(60_000, ge=1)
    factors: int = Field(6, ge=1)
    noise: float = Field(0.6, gt=0)
    seed: int = 0


class IdxCard(_Described):
    """Images in the IDX format of MNIST; `checksums` are MD5 of the unpacked content, `white` is the value that becomes 1."""

    kind: Literal["idx-images"]
    train_images: str
    train_labels: str
    test_images: str
    test_labels: str
    folder: str | None = None
    white: int = Field(255, ge=255)
    sources: list[Source] = Field(default_factory=list)
    checksums: dict[str, str] = Field(default_factory=dict)


class DigitsCard(_Described):
    """The 1,797 scanned 8 x 8 digits that scikit-learn ships."""

    kind: Literal["digits"]


class ImageFolderCard(_Described):
    """PNG and JPEG files of one size below `folder`, relative to the card; every fifth is a test image.

    If they lie in several folders, each folder is a class.
    """

    kind: Literal["image-folder"]
    folder: str


Card = Annotated[RatingsCard | PlantedCard | IdxCard | DigitsCard | ImageFolderCard, Field(discriminator="kind")]
IMAGE_KINDS = ("idx-images", "digits", "image-folder")


def shipped_cards() -> dict[str, Path]:
    """Name -> file of the cards that come with the package."""
    return {path.stem: path for path in sorted(declared_folder("datasets").glob("*.yaml"))}


def read_card(name_or_path: str, folder: Path = Path()) -> tuple[Any, Path]:
    """The card called `name_or_path`, or in the file of that path relative to `folder`, and the folder it lies in.

    Raises:
        ConfigError: no such card, or one that does not say what a card must.
    """
    shipped = shipped_cards()
    path = folder / name_or_path
    if not path.suffix and name_or_path in shipped:
        path = shipped[name_or_path]
    elif not path.is_file():
        if path.suffix or os.sep in name_or_path:
            raise ConfigError(f"there is no dataset card {path}")
        raise ConfigError(f"unknown dataset {name_or_path!r}; {did_you_mean(name_or_path, shipped)}")
    return validate(Card, read_yaml(path), str(path)), path.parent
