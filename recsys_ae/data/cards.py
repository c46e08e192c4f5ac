"""Dataset cards: where data comes from, what it must hash to, and what its columns mean."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

import recsys_ae
from recsys_ae.data.places import file_name, inside, web_address
from recsys_ae.declaration import Declared, Name, is_file, read_yaml, validate
from recsys_ae.errors import ConfigError, did_you_mean, quoted, shortened
from recsys_ae.events import LARGEST_RATING, Duplicates
from recsys_ae.features import Kind
from recsys_ae.times import TimeUnit

Place = str | int  # of a column: its name, or its number from 1 where the file has no header


class Columns(Declared):
    """Which column is which."""

    user: Place
    item: Place
    rating: Place | None = None
    time: Place | None = None


class _File(Declared):
    """Layout of a file. The ending `.parquet` distinguishes Parquet from text."""

    path: str
    separator: Annotated[str, Field(min_length=1)] = ","
    header: bool = True

    def places(self) -> list[Place]:
        """The columns that are read."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _columns_can_be_found(self) -> "_File":
        by_number = not self.header and not self.path.endswith(".parquet")
        if any(isinstance(place, int) != by_number for place in self.places()):
            raise ValueError(f"columns of {self.path} must be given by {'place (1, 2, ...)' if by_number else 'name'}")
        if any(isinstance(place, int) and place < 1 for place in self.places()):
            raise ValueError(f"column places of {self.path} count from 1")
        return self


class Table(_File):
    """A file of ratings; `time_unit` is the unit of times that are numbers since 1970."""

    columns: Columns
    time_unit: TimeUnit = "s"

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
    """A file with one row of features per user or item; `id` is the column of its id."""

    id: Place
    encoding: str = "utf-8-sig"
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
    """Data in files, whose MD5 by path are `checksums` (of .gz files those of the unpacked content).

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


class RatingsCard(FileCard):
    """Ratings in the first of `files` that exists. `features` are read only on request."""

    kind: Literal["ratings"]
    files: list[Table] = Field(min_length=1)
    ids: dict[Literal["user", "item"], Literal["int", "str"]] = Field(default_factory=dict)
    features: dict[Literal["users", "items"], FeatureFile] = Field(default_factory=dict)
    scale: tuple[float, float] | None = None
    duplicates: Duplicates = "error"
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
