"""Publication of lists: a folder per date, and a link `latest` to the newest that passed its checks.

    lists/2026-11-25/                a published export
    lists/2026-11-26.unpublished/    a complete one that did not pass, or not yet
    lists/latest -> 2026-11-25

A reader of `latest` sees the old lists or the new ones, never anything else.
"""

import datetime
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from recsys_ae.errors import ConfigError, OtherInputsError, OutputError, quoted, reason
from recsys_ae.export.manifest import LATEST, MANIFEST, ListManifest
from recsys_ae.files import locked, make_folder, move

UNPUBLISHED = ".unpublished"
COMPARED_USERS = 10_000  # least size of the sample that decides the overlap with the last lists

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checks:
    """Conditions for publishing lists; None requires nothing.

    Attributes:
        min_users: least number of users with a list.
        max_cold: largest share of users whom the model cannot score, from 0 to 1.
        min_overlap: smallest `overlap` with the lists published last, from 0 to 1, if there are any.
    """

    min_users: int | None = None
    max_cold: float | None = None
    min_overlap: float | None = None

    def __post_init__(self) -> None:
        if self.min_users is not None and self.min_users < 1:
            raise ConfigError(f"min_users must be at least 1, got {quoted(self.min_users)}")
        for name in ("max_cold", "min_overlap"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"{name} must be a share from 0 to 1, got {quoted(share)}")

    def problems(self, folder: Path, manifest: ListManifest, last: Path | None) -> Iterator[str]:
        """Why the lists in a folder may not be published after those in `last`."""
        served = manifest.n_users - manifest.users_without_items
        if self.min_users is not None and served < self.min_users:
            yield f"{served} users have a list, fewer than {self.min_users} (min_users)"
        cold = manifest.cold_users / max(1, manifest.n_users)
        if self.max_cold is not None and cold > self.max_cold:
            yield f"{_percent(cold)} of {manifest.n_users} users are cold, more than {_percent(self.max_cold)} (max_cold)"
        if self.min_overlap is not None and last is None:
            logger.info("there are no earlier lists to compare with")
        elif self.min_overlap is not None and last is not None:
            shared = overlap(folder, last)
            kept = f"users keep {_percent(shared)} of the items of {last.name}"
            if shared < self.min_overlap:
                yield f"{kept}, less than {_percent(self.min_overlap)} (min_overlap)"
            else:
                logger.info("%s", kept)


def publish(
    make: Callable[[Path], ListManifest], root: Path, date: str, checks: Checks | None = None, keep: int | None = None
) -> ListManifest:
    """Publish an export in the folder `root` under a date.

    The lists are made in `<date>.unpublished` and moved to their place once they pass the checks; then `latest` points to them,
    unless it already points to a later date. After an interruption, the same call continues. Lists that do not pass stay where
    they were made, until a later call publishes or replaces them.

    Args:
        make: makes the export in a folder that it is given, or verifies the one there, as `export_recommendations` does.
        date: in the form 2026-11-26.
        keep: number of dated folders to keep; older ones are removed.

    Raises:
        ConfigError: `date` is not a date, or `keep` is below 1.
        OutputError: a check failed, another process is publishing, the folder holds other lists of this date, or it cannot be
            written.
    """
    check_date(date)
    if keep is not None and keep < 1:
        raise ConfigError(f"keep must be at least 1, got {quoted(keep)}")
    try:
        make_folder(root)
        with locked(root / ".lock", f"another export is publishing to {root}"):
            last, target = _last(root), root / date
            if last is not None and not (root / LATEST).exists():
                _link_latest(root, last.name)
            for removed in root.glob(".*.removed"):
                shutil.rmtree(removed)
            if os.path.lexists(target):
                manifest = make(target)
            else:
                draft = root / f"{date}{UNPUBLISHED}"
                manifest = _made(make, draft)
                if problems := list((checks or Checks()).problems(draft, manifest, last)):
                    stays = f"; {LATEST} stays {last.name}" if last else ""
                    raise OutputError(f"{draft} is complete but not published: {', and '.join(problems)}{stays}")
                move(draft, target)
            if last is None or last.name < date:
                _link_latest(root, date)
            elif last.name > date:
                logger.info("%s stays %s, which is later", root / LATEST, last.name)
            if keep is not None:
                _remove_older(root, keep, but=target)
    except OSError as error:
        raise OutputError(f"cannot publish to {root}: {reason(error)}") from error
    return manifest


def check_date(date: str) -> None:
    """Raise `ConfigError` unless `date` is one in the form 2026-11-26."""
    if not _is_date(date):
        raise ConfigError(f"{quoted(date)} is not a date such as 2026-11-26")


def overlap(lists: Path, last: Path) -> float:
    """The share of a user's last list that the new list keeps, averaged over the users of both exports.

    If there are many, the mean is over a sample spread evenly over the new export. Without common users, it is 0.
    """
    new, old = ListManifest.read(lists), ListManifest.read(last)
    if any(new.schema[name] != old.schema[name] for name in ("user_id", "item_id")):
        return 0.0
    step = max(1, (new.n_users - new.users_without_items) // COMPARED_USERS)
    listed = (new.read_part(lists / name, ["user_id"])["user_id"].unique() for name in new.files)
    users = pa.concat_arrays(listed)[::step]
    pairs, earlier = (_pairs(folder, manifest, users) for folder, manifest in ((lists, new), (last, old)))
    lengths = earlier.filter(pc.is_in(earlier["user_id"], pairs["user_id"])).group_by("user_id").aggregate([([], "count_all")])
    common = earlier.join(pairs, ["user_id", "item_id"], join_type="inner").group_by("user_id").aggregate([([], "count_all")])
    both = lengths.join(common, "user_id", right_suffix="_common")
    shares = pc.divide(pc.fill_null(both["count_all_common"], 0).cast(pa.float64()), both["count_all"])
    return float(pc.mean(shares).as_py() or 0.0)


def _pairs(folder: Path, manifest: ListManifest, users: pa.Array) -> pa.Table:
    """The columns user_id and item_id of the lists of some users."""
    parts = (manifest.read_part(folder / name, ["user_id", "item_id"]) for name in manifest.files)
    return pa.concat_tables([part.filter(pc.is_in(part["user_id"], users)) for part in parts])


def _made(make: Callable[[Path], ListManifest], draft: Path) -> ListManifest:
    """Make the export in `draft`, replacing unpublished lists made from other inputs."""
    try:
        return make(draft)
    except OtherInputsError:
        logger.warning("%s has unpublished lists made from other inputs; they are replaced", draft)
        shutil.rmtree(draft)
        return make(draft)


def _last(root: Path) -> Path | None:
    """The folder that `latest` points to or, if that was removed, the newest one published; None if there is none yet."""
    link = root / LATEST
    if os.path.lexists(link):
        if not link.is_symlink() or not _is_date(os.readlink(link)):
            raise OutputError(f"{link} is not a link to one of the dated folders beside it; move it away first")
        if link.exists():
            return root / os.readlink(link)
    return max(_published(root), default=None)


def _published(root: Path) -> list[Path]:
    """The folders of all dates that were published, oldest first."""
    return sorted(path for path in root.iterdir() if _is_date(path.name) and (path / MANIFEST).exists())


def _link_latest(root: Path, date: str) -> None:
    """Point `latest` to the folder of a date, atomically."""
    draft = root / f".{LATEST}.draft"
    draft.unlink(missing_ok=True)
    draft.symlink_to(date, target_is_directory=True)
    move(draft, root / LATEST)
    logger.info("%s points to %s", root / LATEST, date)


def _remove_older(root: Path, keep: int, but: Path) -> None:
    """Remove all published folders `but` one, the newest ones and that behind `latest`; and older ones never published."""
    published = _published(root)
    oldest = published[-keep:][0].name
    drafts = [
        path for path in root.glob(f"*{UNPUBLISHED}*") if path.name < oldest and _is_date(path.name.partition(UNPUBLISHED)[0])
    ]
    for path in [*published[:-keep], *sorted(drafts)]:
        if path not in (_last(root), but):
            hidden = root / f".{path.name}.removed"
            move(path, hidden)  # so that nobody reads half of it
            shutil.rmtree(hidden)
            logger.info("removed %s", path)


def _percent(share: float) -> str:
    """A share from 0 to 1, as 93.5123%."""
    return f"{100 * share:g}%"


def _is_date(name: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", name)) and datetime.date.fromisoformat(name) is not None
    except ValueError:
        return False
