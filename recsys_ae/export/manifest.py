"""Manifests: what an export holds and what it was made from."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

import recsys_ae
from recsys_ae.digests import digest_of_json
from recsys_ae.errors import DataError, quoted, similar_path
from recsys_ae.export.provenance import Provenance, Sources
from recsys_ae.export.writing import TITLE, Writing
from recsys_ae.files import check_file, read_json

FORMAT = 2  # of manifests and of the folders that they describe
LATEST = "latest"  # link in a folder of dated exports, to the newest one
LISTS = "recommendations"  # folder in the output of a run
MANIFEST = "_manifest.json"  # readers of Parquet folders skip names that begin with _ or .


@dataclass(frozen=True)
class Part:
    """One file of an export."""

    digest: str
    rows: int
    users: int = 0  # that have a list


@dataclass(frozen=True)
class Manifest:
    """The keys that all exports share."""

    model: str  # registered name
    model_digest: str  # hash of everything the model has learned
    data_digest: str  # hash of the data it was applied to
    rows: int
    versions: dict[str, str]
    files: dict[str, Part] = field(default_factory=dict, kw_only=True)  # by name, in the order of the rows
    format: int = field(default=FORMAT, kw_only=True)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest in a folder, after checking that its files are there, unchanged, and the only ones.

        Raises:
            DataError: the manifest is missing, damaged or of another kind of export, or a file does not have its digest.
        """
        manifest = cls.read_alone(folder)
        manifest.check_names(folder)
        for name, part in manifest.files.items():
            check_file(folder / name, part.digest, remedy(folder))
        return manifest

    @classmethod
    def read_alone(cls, folder: Path) -> Self:
        """The manifest in a folder, without checking the other files; errors as for `read`."""
        path = folder / MANIFEST
        if not os.path.exists(folder):
            raise DataError(f"there is no folder {folder}{similar_path(folder)}")
        if not path.exists():
            inner = next((folder / name for name in (LATEST, LISTS) if (folder / name / MANIFEST).exists()), None)
            hint = f"; did you mean {inner}?" if inner else ""
            raise DataError(f"{folder} is not a complete export: {MANIFEST} is missing{hint}")
        found = read_json(dict[str, Any], path, remedy(folder))
        if (other := found.get("format")) != FORMAT:
            raise DataError(f"{path} has format {quoted(other)}, but this version reads {FORMAT}; {remedy(folder)}")
        if ("what" in found) != (cls is VectorManifest):
            raise DataError(
                f"{folder} holds {found.get('what', 'lists')}, not {'vectors' if cls is VectorManifest else 'lists'}"
            )
        return read_json(cls, path, remedy(folder))

    def check_names(self, folder: Path) -> None:
        """Raise `DataError` if the folder has a file that is not in the manifest, but that readers would take for a part."""
        visible = {path.name for path in folder.iterdir() if not path.name.startswith(("_", "."))}
        if more := visible - self.files.keys():
            raise DataError(f"{folder / min(more)} is not in the manifest; remove it, or move it elsewhere")


@dataclass(frozen=True)
class ListManifest(Manifest):
    """Top-k lists; `data_digest` is that of the history."""

    k: int
    filters: dict[str, Any]  # exclude_seen, policy `cold`, and the sizes of the rules, see `Rules.counts`
    n_users: int  # asked for
    n_items: int  # in the catalogue
    cold_users: int  # users the model cannot score
    users_without_items: int  # users with an empty list
    seen: str  # hash of the pairs that count as seen, see `pairs_digest`
    users: str  # hash of the users asked for, in their order
    rules: str  # hash of the rules, see `models.rules`
    schema: dict[str, str]  # column -> Arrow type, of the lists as rows
    part_users: int  # asked for in each file but the last
    writing: Writing  # format and layout of the files
    n_events: int  # in the history
    parameters: dict[str, Any]  # of the model
    made: Provenance  # when, where and from which files

    @property
    def request(self) -> dict[str, Any]:
        """What was asked for: with the same versions of the libraries, equal requests give equal files, and others do not."""
        results = {"rows", "users_without_items", "files", "versions", "made"}
        asked = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in results}
        return asked | {"writing": asdict(self.writing)}

    @property
    def request_digest(self) -> str:
        """Hash of the request and the versions; identifies what a part of an unfinished export belongs to."""
        return digest_of_json(self.request, self.versions)

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `export_recommendations` that are neither data nor ids."""
        filters = {"exclude_seen": self.filters["exclude_seen"], "cold": self.filters["cold"]}
        return {**filters, "part_users": self.part_users, "writing": self.writing}

    def arrow_schema(self, *, titles: bool = False) -> pa.Schema:
        """The types of the columns of the lists as rows, with or without titles."""
        schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in self.schema.items()])
        return schema.append(pa.field(TITLE, pa.string())) if titles else schema

    def read_part(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
        """The lists in one of the files, as rows; `DataError` if it is unreadable.

        Args:
            columns: the columns to read, possibly with the titles; all but the titles if None.
        """
        return self.writing.read(path, self.arrow_schema(titles=TITLE in (columns or ())), columns)

    def lines(self) -> list[str]:
        """What the lists were made from, as lines to print."""
        made, sources = self.made, self.made.sources
        model = " ".join([f"model: {self.model} ({self.model_digest})", *([f"from {sources.model}"] if sources.model else [])])
        history = sources.files.get("history")
        place = f"{history.path} (file {history.digest}), " if history else ""
        filters = "; ".join(f"{name}: {_in_words(value)}" for name, value in self.filters.items())
        read = [f"{name} {file.path} ({file.digest})" for name, file in sources.files.items() if name != "history"]
        folder = f", in a folder at commit {made.commit}" if made.commit else ""
        folder += " with uncommitted changes" if made.uncommitted_changes else ""
        package = f", recsys-ae from commit {made.package_commit}" if made.package_commit else ""
        numbers = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return [
            f"lists: {self.k} items for {self.n_users} users ({self.cold_users} cold); {filters}",
            f"made: {made.started} to {made.finished} on {made.host} by {made.command}{folder}",
            *(f"shard {shard}: {one.started} to {one.finished} on {one.host}" for shard, one in made.shards.items()),
            f"{model}, run {sources.run}" if sources.run else model,
            f"history: {place}{self.n_events} events ({self.data_digest}){_left_out(sources)}",
            *([f"other files: {'; '.join(read)}"] if read else []),
            f"code: {numbers}, python {made.python}{package}",
        ]

    def differences(self, other: "ListManifest") -> list[str]:
        """What differs from the request of another manifest, such as "k" or "history"."""
        different = [name for name, value in self.request.items() if value != other.request[name]]
        named = ({"model_digest": "model", "data_digest": "history"}.get(name, name) for name in different)
        return list(dict.fromkeys(named))


@dataclass(frozen=True)
class VectorManifest(Manifest):
    """Vectors of `width` numbers; `what` describes them."""

    what: str
    width: int


def _left_out(sources: Sources) -> str:
    """What was left out of the history, to follow it."""
    counts = {"events of unknown items": sources.skipped_events, "invalid lines": sources.skipped_lines}
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return f", without {' and '.join(parts)}" if parts else ""


def _in_words(value: Any) -> str:
    """A filter as text: a value as it is, or counts such as 2 items, 3 pairs."""
    return ", ".join(f"{number} {what}" for what, number in value.items()) if isinstance(value, dict) else str(value)


def versions() -> dict[str, str]:
    """Versions of this package and of the libraries that do its arithmetic."""
    return {"recsys-ae": recsys_ae.__version__, **{name: version(name) for name in ("numpy", "pyarrow", "scipy", "torch")}}


def remedy(folder: Path) -> str:
    """The way out of a damaged export."""
    return f"remove {folder} and export again"
