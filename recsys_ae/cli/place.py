"""Options of `export` and `merge` that say where lists go: to a folder, or to dated folders that are published."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys_ae.cli.options import PATH, terminal
from recsys_ae.errors import ConfigError, counted

if TYPE_CHECKING:
    from recsys_ae.export.manifest import ListManifest
    from recsys_ae.export.publication import Checks

FILE_ENDINGS = (".parquet", ".csv", ".jsonl")
OutputFolder = Annotated[Path, typer.Option(help="New folder for the lists; with --dated, the folder of all dates.", **PATH)]
Dated = Annotated[bool, typer.Option("--dated", help="Publish as OUTPUT/DATE, and point OUTPUT/latest to it.")]
DateOption = Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Implies --dated. Default: today.")]
MinUsers = Annotated[int | None, typer.Option(help="Publish only if at least this many users have a list.")]
MaxCold = Annotated[float | None, typer.Option(help="Publish only if at most this share of the users (0 to 1) is cold.")]
MinOverlap = Annotated[
    float | None, typer.Option(help="Publish only if users keep at least this share (0 to 1) of their last lists.")
]
Keep = Annotated[int | None, typer.Option(help="Number of dated folders to keep; older ones are removed.")]

RecordIn = Annotated[
    str | None,
    typer.Option(help="MLflow store in which to record the export. Default: $MLFLOW_TRACKING_URI, else it is not recorded."),
]


@dataclass(frozen=True)
class Place:
    """The options that say where lists go and when they are published.

    Raises:
        ConfigError: an invalid date or limit, or options of publication without a date.
    """

    output: Path
    dated: bool
    date: str | None
    min_users: int | None = None
    max_cold: float | None = None
    min_overlap: float | None = None
    keep: int | None = None

    def __post_init__(self) -> None:
        from recsys_ae.export.publication import check_date

        _ = self.checks
        if self.has_conditions and not (self.dated or self.date):
            raise ConfigError("--min-users, --max-cold, --min-overlap and --keep are for dated lists; add --dated")
        if self.date is not None:
            check_date(self.date)
        elif self.dated:
            object.__setattr__(self, "date", f"{datetime.now():%Y-%m-%d}")

    @property
    def checks(self) -> "Checks":
        """Conditions for publishing the lists."""
        from recsys_ae.export.publication import Checks

        return Checks(self.min_users, self.max_cold, self.min_overlap)

    @property
    def has_conditions(self) -> bool:
        """Whether an option is given that applies only at publication."""
        return any(value is not None for value in (self.min_users, self.max_cold, self.min_overlap, self.keep))

    @property
    def folder(self) -> Path:
        """The folder of the finished lists."""
        return self.output if self.date is None else self.output / self.date

    def fill(self, make: Callable[[Path], "ListManifest"]) -> "ListManifest":
        """Make the lists, and publish them if they are dated."""
        from recsys_ae.export.publication import publish

        if self.date is None:
            return make(self.output)
        return publish(make, self.output, self.date, self.checks, self.keep)


def report(manifest: "ListManifest", folder: Path) -> None:
    """Print what was made."""
    console, sources = terminal(), manifest.made.sources
    if sources.skipped_events:
        skipped = f"skipped {counted(sources.skipped_events, 'interaction')} with items that the model does not know"
        left = f"; {counted(sources.skipped_users, 'user')} had no other interactions" if sources.skipped_users else ""
        console.print(skipped + left)
    if sources.skipped_lines:
        skipped = f"skipped {counted(sources.skipped_lines, 'invalid line')} of the history"
        console.print(f"{skipped}; items that can be read there count as seen")
    if manifest.cold_users:
        get = {"popular": "they get the most popular items", "skip": "they get no list"}[manifest.filters["cold"]]
        console.print(f"the model cannot score {manifest.cold_users:,} of {counted(manifest.n_users, 'user')}: {get}")
    served = manifest.n_users - manifest.users_without_items
    users = counted(manifest.n_users, "user")
    users = users if served == manifest.n_users else f"{served:,} of {users}"
    kind = " (a folder of such files)" if folder.suffix.lower() in FILE_ENDINGS else ""
    console.print(f"{counted(manifest.rows, 'recommendation')} for {users}: {folder}{kind}", soft_wrap=True)
