"""The parts of an export: files that each hold the lists of some users, and that are kept after interruptions.

The name and the content of a part depend only on the request. A part is finished once its record is written: a JSON file with
its digest, tied to the request.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol

import pyarrow as pa

from recsys_ae.digests import digest_of_file
from recsys_ae.errors import ConfigError, DataError, counted, quoted
from recsys_ae.export.manifest import ListManifest, Part
from recsys_ae.export.request import ListRequest
from recsys_ae.export.scoring import BlockScorer
from recsys_ae.export.writing import Titles, Writing
from recsys_ae.files import make_folder, read_json, whole_file, write_json
from recsys_ae.ids import Rows

PROGRESS = 30  # seconds between two log lines

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """The share of one process among several: number `number` of `of`, from 1."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ConfigError(f"there is no shard {self}; write I/N with I from 1 to N, such as 2/4")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard that a text such as 2/4 names.

        >>> Shard.parse("2/4")
        Shard(number=2, of=4)
        """
        number, _, of = text.partition("/")
        if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in (number, of)):
            raise ConfigError(f"a shard is written as its number and the number of shards, such as 2/4, got {quoted(text)}")
        return cls(int(number), int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def share(self, names: list[str]) -> list[str]:
        """This shard's slice of a list; the slices of all shards make up the list, and their lengths differ by at most one."""
        n = len(names)
        return names[n * (self.number - 1) // self.of : n * self.number // self.of]


WHOLE = Shard()


@dataclass(frozen=True)
class PartStore:
    """Where the parts of one request are written. Can be pickled, to be sent to other processes.

    Attributes:
        lists: folder of the parts.
        records: folder of their records.
        request: hash of the request, see `ListManifest.request_digest`.
    """

    lists: Path
    records: Path
    request: str
    writing: Writing
    titles: Titles | None = None

    def kept(self, name: str) -> Part | None:
        """A finished part; None if it has to be written."""
        path, record = self.lists / name, self._record(name)
        if not record.exists():
            return None
        try:
            part = read_json(Part, record, "it is written again", of=self.request)
        except DataError as error:
            logger.warning("%s", error)
            return None
        if path.exists() and digest_of_file(path) == part.digest:
            return part
        logger.warning("%s is missing or damaged; it is written again", path)
        return None

    def write(self, name: str, scorer: BlockScorer, rows: Rows) -> Part:
        """Write the lists of the users at `rows`, then the record."""
        table = scorer.table(rows)
        path = self.lists / name
        with whole_file(path) as draft:
            self.writing.write(table, self.titles, draft)
            part = Part(digest_of_file(draft), table.num_rows, users=len(table["user_id"].unique()))
        write_json(part, self._record(name), of=self.request)
        pa.default_memory_pool().release_unused()  # otherwise Arrow keeps what encoding took, up to a file's size
        return part

    def prepare(self, names: list[str]) -> None:
        """Make the folders, and remove all but these parts and their records."""
        for folder, wanted in ((self.lists, {*names}), (self.records, {self._record(name).name for name in names})):
            make_folder(folder)
            for path in folder.iterdir():
                if path.name not in wanted:
                    path.unlink()

    def _record(self, name: str) -> Path:
        return self.records / f"{name}.json"


class Engine(Protocol):
    """Writes the lists of users, given as rows for each name of a part, to a store. Yields each part once it is finished."""

    def __call__(self, request: ListRequest, store: PartStore, parts: Mapping[str, Rows], /) -> Iterator[tuple[str, Part]]: ...


def one_by_one(request: ListRequest, store: PartStore, parts: Mapping[str, Rows]) -> Iterator[tuple[str, Part]]:
    """The engine of a single process."""
    for name, rows in parts.items():
        yield name, store.write(name, request.scorer, rows)


def part_names(planned: ListManifest) -> list[str]:
    """The file names of a whole export in the order of the users; one even if there are no users."""
    number_of_parts = max(1, -(-planned.n_users // planned.part_users))
    return [f"part-{number:05d}.{planned.writing.ending}" for number in range(number_of_parts)]


def complete_parts(request: ListRequest, folder: Path, shard: Shard, engine: Engine) -> dict[str, Part]:
    """All parts of a shard in `folder`/lists, after writing those that are not finished and removing all other files."""
    planned = request.planned
    store = PartStore(folder / "lists", folder / "records", planned.request_digest, planned.writing, request.titles)
    names = part_names(planned)
    rows = {name: request.rows[at * planned.part_users : (at + 1) * planned.part_users] for at, name in enumerate(names)}
    names = shard.share(names)
    store.prepare(names)
    parts = {name: part for name in names if (part := store.kept(name))}
    kept, logged = len(parts), monotonic()
    for name, part in engine(request, store, {name: rows[name] for name in names if name not in parts}):
        parts[name] = part
        if monotonic() - logged > PROGRESS:
            logger.info("%d of %d files", len(parts), len(names))
            logged = monotonic()
    store.prepare(names)  # without the drafts of processes of the engine that have died
    logger.info("%s written%s", counted(len(names) - kept, "file"), f", {kept:,} kept from an earlier attempt" if kept else "")
    return {name: parts[name] for name in names}
