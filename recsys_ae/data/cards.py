"""Dataset cards: where data comes from, what it must hash to, and what its columns mean."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, model_validator

import recsys_ae
from recsys_ae.data.layouts import FeatureFile, Table, TitleFile
from recsys_ae.data.places import file_name, inside, web_address
from recsys_ae.declaration import Declared, Name, Size, validate
from recsys_ae.errors import ConfigError, did_you_mean, quoted, shortened, similar_path
from recsys_ae.events import LARGEST_RATING, Duplicates
from recsys_ae.files import is_file
from recsys_ae.sequences import LONGEST_GAP
from recsys_ae.strict_yaml import read_yaml


class Source(Declared):
    """A download of at most `max_gb` gigabytes, before and after unpacking.

    `md5` is that of the downloaded file; with `unpack: zip`, only its members are kept.
    """

    url: Annotated[str, AfterValidator(web_address)]
    md5: str | None = None
    unpack: Literal["zip"] | None = None
    path: Annotated[str, AfterValidator(inside)] | None = None
    max_gb: float = Field(4, gt=0, le=10_000)

    @property
    def name(self) -> str:
        """Path in the cache."""
        return self.path or file_name(self.url)

    @model_validator(mode="after")
    def _has_a_place(self) -> "Source":
        if (self.path is None) == (self.unpack is None):
            raise ValueError("a source needs either `path` (a single file) or `unpack` (an archive)")
        if self.name.endswith((".part", ".lock")):
            raise ValueError(f"{quoted(self.name)}: a path must not end in .part or .lock, which mark unfinished downloads")
        return self


SPLIT_FILES = ("train", "test", "flags", "file")
Variable = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_]*$", max_length=63)]  # a name in MATLAB
FORMATS = {  # of given splits, and the keys that each needs
    "table": (["train", "test"], ["flags", "column"], ["shuffle"]),
    "adjacency": (["train", "test"],),
    "npz": (["train", "test"],),
    "matlab": (["file", "matrix", "train_mask", "test_mask"],),
}


class Shuffle(Declared):
    """A split that is published as a seed: the test part is the first share of the rows in the order of a shuffle.

    `seed` is that of `numpy.random.RandomState`, whose `shuffle` orders the numbers of the rows; the share is rounded down.
    """

    seed: int = Field(ge=0, lt=2**32)
    test: float = Field(gt=0, lt=1)

    def flags(self, n: int) -> NDArray[np.bool_]:
        """bool [n]: which of `n` rows are in the test part."""
        order, marks = np.arange(n), np.zeros(n, bool)
        np.random.RandomState(self.seed).shuffle(order)
        marks[order[: int(self.test * n)]] = True
        return marks


class GivenSplit(Declared):
    """A published split.

    Attributes:
        format: `table`: files with the layout of the ratings, a true/false column aligned with them, or a shuffle of their
            rows; `adjacency`: lists of items, a line per user, see `data.adjacency`; `npz`: sparse matrices, see
            `data.matrices`; `matlab`: a matrix and two masks, see `data.matlab`.
        train, test: files of the parts.
        flags, column: a Parquet file, and its column that is true for the test part.
        shuffle: see `Shuffle`.
        file, matrix, train_mask, test_mask: a file of MATLAB v7.3, and the names of its variables.
    """

    format: Literal["table", "adjacency", "npz", "matlab"] = "table"
    train: str | None = None
    test: str | None = None
    flags: str | None = None
    column: str | None = None
    shuffle: Shuffle | None = None
    file: str | None = None
    matrix: Variable | None = None
    train_mask: Variable | None = None
    test_mask: Variable | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "GivenSplit":
        if [key for key, value in self.model_dump(exclude={"format"}).items() if value] not in FORMATS[self.format]:
            ways = ", or ".join(" and ".join(f"`{key}`" for key in keys) for keys in FORMATS[self.format])
            raise ValueError(f"a given split of format {self.format} needs {'either ' if 'or' in ways else ''}{ways}")
        if self.format == "matlab" and len({self.matrix, self.train_mask, self.test_mask}) < 3:
            raise ValueError("`matrix`, `train_mask` and `test_mask` must be three variables")
        return self


class _Card(Declared):
    name: Name
    kind: str
    title: str = ""
    licence: str = ""
    citation: str = ""


class FileCard(_Card):
    """Data in files. `checksums` are MD5 by path; those of compressed files are of the unpacked content.

    A card without `sources` reads its files from `folder`, relative to the card (None: the card's own folder); its paths may
    lead anywhere. A card with `sources` also writes files, so its paths cannot leave the folder for downloads.
    """

    folder: str | None = None
    sources: list[Source] = Field(default_factory=list)
    checksums: dict[str, str] = Field(default_factory=dict)

    def paths(self) -> dict[str, str | None]:
        """All paths in the card, by key."""
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
    """Minimum numbers of items per user and users per item, see `data.k_core.k_core`."""

    users: Annotated[StrictInt, Field(ge=1)] = 1  # items of each user
    items: Annotated[StrictInt, Field(ge=1)] = 1  # users of each item


def _both_sizes(declared: Any) -> Any:
    """A single number applies to users and items."""
    return {"users": declared, "items": declared} if isinstance(declared, int) else declared


class RatingsCard(FileCard):
    """Ratings in the first of `files` that exists or, without `files`, in the first of `splits`. `features` only on request.

    `titles` are what people are shown instead of the ids of items.

    Sessions come from a column, or end where a user pauses for `session_gap` minutes or longer.
    """

    kind: Literal["ratings"]
    files: list[Table] = Field(default_factory=list)
    ids: dict[Literal["user", "item"], Literal["int", "str"]] = Field(default_factory=dict)
    features: dict[Literal["users", "items"], FeatureFile] = Field(default_factory=dict)
    titles: TitleFile | None = None
    scale: tuple[float, float] | None = None
    duplicates: Duplicates = "error"
    session_gap: float | None = Field(None, gt=0, le=LONGEST_GAP)
    k_core: Annotated[CoreSizes, BeforeValidator(_both_sizes, json_schema_input_type=Size | CoreSizes)] | None = None
    splits: dict[str, GivenSplit] = Field(default_factory=dict)

    def paths(self) -> dict[str, str | None]:
        files = {f"files.{number}.path": table.path for number, table in enumerate(self.files)}
        features = {f"features.{side}.path": file.path for side, file in self.features.items()}
        given = {f"splits.{name}.{key}": getattr(split, key) for name, split in self.splits.items() for key in SPLIT_FILES}
        titles = {} if self.titles is None else {"titles.path": self.titles.path}
        return {**files, **features, **titles, **given}

    @model_validator(mode="after")
    def _has_files(self) -> "RatingsCard":
        formats = {split.format for split in self.splits.values()}
        if not self.files and (not formats or "table" in formats):
            raise ValueError("key `files` is missing; only a card whose `splits` have a `format` of their own needs none")
        if formats & {"npz", "matlab"} and "str" in self.ids.values():
            raise ValueError("users and items of matrices are numbered, so their `ids` cannot be str")
        return self

    @model_validator(mode="after")
    def _scale_goes_up(self) -> "RatingsCard":
        if self.scale is not None and not -LARGEST_RATING <= self.scale[0] < self.scale[1] <= LARGEST_RATING:
            raise ValueError(f"the scale must be [lowest, highest] within +-{LARGEST_RATING:g}, got {list(self.scale)}")
        return self

    @model_validator(mode="after")
    def _sessions_by_one_rule(self) -> "RatingsCard":
        if self.session_gap is not None and any(table.columns.session is not None for table in self.files):
            raise ValueError("sessions come either from a `session` column or from `session_gap`; remove one of them")
        return self

    @model_validator(mode="after")
    def _rows_of_splits_stay(self) -> "RatingsCard":
        skips = any(table.bad_lines == "skip" for table in self.files)
        if skips and any(split.flags or split.shuffle for split in self.splits.values()):
            raise ValueError(
                "`bad_lines: skip` would shift the rows that the `flags` or `shuffle` of a split refer to; use only one"
            )
        if self.k_core is not None and self.splits:
            raise ValueError("`k_core` would change the parts of the published `splits`; declare it in a separate card")
        if self.k_core is not None and any(file.unrated == "keep" for file in self.features.values()):
            raise ValueError("`unrated: keep` would bring back what `k_core` removes; use only one")
        return self


class PlantedCard(_Card):
    """Generated data with known best figures, see `data.planted`; the other keys are arguments of the generator."""

    @property
    def arguments(self) -> dict[str, Any]:
        return self.model_dump(exclude=set(_Card.model_fields))


class PlantedRatingsCard(PlantedCard):
    """See `data.planted.ratings.planted_ratings`."""

    kind: Literal["planted-ratings"]
    users: int = Field(1000, ge=2, le=10_000_000)
    items: int = Field(600, ge=2, le=10_000_000)
    ratings: int = Field(60_000, ge=1)
    factors: int = Field(6, ge=1, le=100)
    noise: float = Field(0.6, gt=0)
    seed: int = Field(0, ge=0)


class PlantedFeaturesCard(PlantedCard):
    """See `data.planted.features.planted_features`."""

    kind: Literal["planted-features"]
    users: int = Field(1500, ge=2, le=10_000_000)
    items: int = Field(800, ge=2, le=10_000_000)
    ratings: int = Field(120_000, ge=1)
    factors: int = Field(3, ge=1, le=100)
    explained: float = Field(0.75, ge=0, le=1)
    noise: float = Field(0.6, gt=0)
    seed: int = Field(0, ge=0)


class PlantedSessionsCard(PlantedCard):
    """See `data.planted.sessions.planted_sessions`."""

    kind: Literal["planted-sessions"]
    users: int = Field(3000, ge=2, le=10_000_000)
    items: int = Field(40, ge=3, le=10_000)
    sessions: int = Field(12, ge=1, le=10_000)
    shortest: int = Field(4, ge=2, le=10_000)
    longest: int = Field(7, ge=2, le=10_000)
    topics: int = Field(4, ge=2, le=100)
    groups: int = Field(4, ge=1, le=10_000)
    loyalty: float = Field(0.8, ge=0, le=1)
    regularity: float = Field(0.95, ge=0, le=1)
    spread: float = Field(0.6, ge=0)
    noise: float = Field(0.6, gt=0)
    seed: int = Field(0, ge=0)


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

    Transparent parts are filled with `background`: white, black, or a grey from 0 to 255.
    """

    kind: Literal["image-folder"]
    folder: str
    background: Literal["white", "black"] | Annotated[int, Field(ge=0, le=255)] = "white"


AnyCard = RatingsCard | PlantedRatingsCard | PlantedFeaturesCard | PlantedSessionsCard | IdxCard | DigitsCard | ImageFolderCard
RATING_KINDS = ("ratings", "planted-ratings", "planted-features", "planted-sessions")
IMAGE_KINDS = ("idx-images", "digits", "image-folder")


def _of_known_kind(declared: Any) -> Any:
    """`declared`, if it is of a kind in `AnyCard`; `ValueError` with advice for the usual case otherwise."""
    kinds = (*RATING_KINDS, *IMAGE_KINDS)
    if isinstance(declared, dict) and (kind := declared.get("kind")) not in kinds:
        problem = f"unknown kind {quoted(kind)}" if "kind" in declared else "key 'kind' is missing"
        raise ValueError(f"{problem}; {did_you_mean(str(kind), kinds)} (clicks are ratings without a `rating` column)")
    return declared


Card = Annotated[AnyCard, Field(discriminator="kind"), BeforeValidator(_of_known_kind)]


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
            raise ConfigError(f"there is no dataset card {shortened(str(path), 200)}{similar_path(path)}")
        raise ConfigError(f"unknown dataset {quoted(name_or_path)}; {did_you_mean(name_or_path, shipped)}")
    return validate(Card, read_yaml(path), str(path)), path.parent
