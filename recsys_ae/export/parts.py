"""The parts of an export: files with the lists of some users each, written one after the other and kept over interruptions.

A part depends only on the request, and so does its name. It counts as finished once its record, a JSON file with its digest
that belongs to the request, is written.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from recsys_ae.digests import digest_of_file
from recsys_ae.errors import DataError
from recsys_ae.export.manifest import Part
from recsys_ae.export.request import ListRequest
from recsys_ae.files import make_folder, read_json, whole_file, write_json
from recsys_ae.ids import Rows

PROGRESS = 30  # seconds between two lines

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """The parts of a request."""

    request: ListRequest

    def names(self) -> list[str]:
        """File names in the order of the users; one even if there are no users."""
        ending = self.request.planned.writing.format
        return [f"part-{number:05d}.{ending}" for number in range(max(1, -(-len(self.request.rows) // self._size)))]

    def complete(self, folder: Path, records: Path) -> dict[str, Part]:
        """Write the parts that `folder` lacks, or that are not what their record says; remove what else is there."""
        make_folder(folder)
        make_folder(records)
        names = self.names()
        _remove_others(folder, set(names))
        _remove_others(records, {f"{name}.json" for name in names})
        parts: dict[str, Part] = {}
        kept, told = 0, monotonic()
        for name, rows in zip(names, self._users(), strict=True):
            part = self._kept(folder / name, records / f"{name}.json")
            kept += part is not None
            parts[name] = part or self._write(folder / name, records / f"{name}.json", rows)
            if monotonic() - told > PROGRESS:
                logger.info("%d of %d parts", len(parts), len(names))
                told = monotonic()
        logger.info("parts: %d kept, %d written", kept, len(names) - kept)
        return parts

    def _users(self) -> Iterator[Rows]:
        for start in range(0, max(1, len(self.request.rows)), self._size):
            yield self.request.rows[start : start + self._size]

    @property
    def _size(self) -> int:
        return self.request.planned.part_users

    def _kept(self, path: Path, record: Path) -> Part | None:
        """A finished part; None if it has to be written."""
        if not record.exists():
            return None
        try:
            part = read_json(Part, record, "it is written again", of=self.request.planned.request_digest)
        except DataError as error:
            logger.warning("%s", error)
            return None
        if path.exists() and digest_of_file(path) == part.digest:
            return part
        logger.warning("%s is missing or damaged; it is written again", path)
        return None

    def _write(self, path: Path, record: Path, rows: Rows) -> Part:
        table = self.request.scorer.table(rows)
        with whole_file(path) as draft:
            self.request.planned.writing.write(table, self.request.titles, draft)
        part = Part(digest_of_file(path), table.num_rows, users=len(table["user_id"].unique()))
        write_json(part, record, of=self.request.planned.request_digest)
        return part


def _remove_others(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()
