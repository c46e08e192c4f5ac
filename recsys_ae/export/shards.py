"""Exports by several processes, on machines that share a file system or whose folders are collected later.

    lists.shards/1-of-3/             the parts of a finished shard, and what they were made from
    lists.shards/2-of-3.partial/     an unfinished shard

Merging checks that all shards are there and belong together, and moves their files to `lists`, which then is the folder that
one process would have made.
"""

import logging
import os
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from recsys_ae.errors import DataError, OtherInputsError, OutputError, reason
from recsys_ae.export.local import finished, prepared, with_parts
from recsys_ae.export.manifest import MANIFEST, ListManifest, Part
from recsys_ae.export.parts import Shard, complete_parts, one_by_one, part_names
from recsys_ae.export.provenance import Provenance
from recsys_ae.export.publication import UNPUBLISHED
from recsys_ae.export.request import ListRequest
from recsys_ae.files import beside, check_file, make_folder, move, read_json, whole_file

SHARDS = ".shards"
DESCRIPTION = "_shard.json"  # not the name of a manifest, so that nobody takes a shard for all lists

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardManifest:
    """A finished shard.

    Attributes:
        files: the files of the shard.
        planned: the manifest of all lists, as far as it is known before they are made; `made` is about this shard.
    """

    shard: Shard
    files: dict[str, Part]
    planned: ListManifest

    @classmethod
    def read(cls, folder: Path) -> "ShardManifest":
        """The shard in a folder, without checking its files; `DataError` if its description is missing or damaged."""
        return read_json(cls, folder / DESCRIPTION, _remedy(folder))

    def check_files(self, folder: Path) -> None:
        """Raise `DataError` unless all files are in the folder, with their digests."""
        for name, part in self.files.items():
            check_file(folder / name, part.digest, _remedy(folder))

    def difference(self, planned: ListManifest) -> str:
        """What differs between the inputs of this shard and of the planned lists, for messages; empty if nothing does."""
        mine, other = self.planned.versions, planned.versions
        versions = [f"version of {name}" for name in sorted({*mine, *other}) if mine.get(name) != other.get(name)]
        return ", ".join([*self.planned.differences(planned), *versions])


def shards_of(folder: Path) -> Path:
    """Where the shards of the lists in `folder` are made."""
    return beside(folder, SHARDS)


def export_shard(request: ListRequest, folder: Path, shard: Shard) -> ShardManifest:
    """Write one of the shards from which `merge_shards` makes the lists in `folder`.

    After an interruption, the same call continues. A finished shard is verified; one that is damaged, or made from other
    inputs, is replaced. If the lists are merged already, nothing happens.

    Raises:
        DataError: the lists in `folder` are damaged.
        OutputError: `folder` holds lists made from other inputs, another process is writing the shard, or the disk is full.
    """
    planned, place = request.planned, shards_of(folder) / f"{shard.number}-of-{shard.of}"
    if (merged := _merged(folder, planned)) is not None:
        files = {name: merged.files[name] for name in shard.share(part_names(planned))}
        return ShardManifest(shard, files, replace(planned, made=merged.made))

    def present() -> ShardManifest:
        try:
            found = ShardManifest.read(place)
            found.check_files(place)
        except DataError as error:
            raise OtherInputsError(str(error)) from None
        if difference := "shard" if found.shard != shard else found.difference(planned):
            raise OtherInputsError(f"{place} was made from other inputs ({difference})")
        logger.info("%s is already complete: nothing to do", place)
        return found

    def fill(work_folder: Path) -> ShardManifest:
        parts = complete_parts(request, work_folder, shard, one_by_one)
        return ShardManifest(shard, parts, replace(planned, made=planned.made.finish()))

    try:
        return prepared(place, present, fill, DESCRIPTION)
    except OtherInputsError as error:
        logger.warning("%s; it is replaced", error)
        shutil.rmtree(place)
        return prepared(place, present, fill, DESCRIPTION)


def _merged(folder: Path, planned: ListManifest) -> ListManifest | None:
    """The manifest of the lists if they are merged already; None if not, or if they are to be replaced."""
    if os.path.lexists(folder):
        return finished(folder, planned)
    unpublished = beside(folder, UNPUBLISHED)
    if not os.path.lexists(unpublished):
        return None
    try:
        return finished(unpublished, planned)
    except OtherInputsError:
        return None


def _remove(shards: Path) -> None:
    """Remove the merged shards, and the remains of an interrupted removal."""
    removed = shards.with_name(f".{shards.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    if not shards.exists():
        return
    try:
        move(shards, removed)  # so that a merge that is repeated after a kill does not find half of them
    except OSError as error:
        raise OutputError(f"cannot remove the merged shards in {shards}: {reason(error)}") from error
    shutil.rmtree(removed, ignore_errors=True)


def merge_shards(folder: Path, shards: Path) -> ListManifest:
    """Merge all `shards` into the lists in `folder`, and remove them; without shards, verify the lists that are there.

    The files are those that a single process would make. They are hard-linked, or copied where that is not possible.

    Raises:
        DataError: a shard is missing, there twice, damaged, or made from other inputs or versions than the others.
        OutputError: `folder` holds something else, another process is writing it, or the disk is full.
    """
    if not shards.exists() and (folder / MANIFEST).exists():
        logger.info("%s is already complete: nothing to do", folder)
        _remove(shards)
        return ListManifest.read(folder)
    found = read_shards(shards)
    planned = merged_plan(found)

    def fill(work_folder: Path) -> ListManifest:
        lists, parts = work_folder / "lists", {name: part for shard in found.values() for name, part in shard.files.items()}
        shutil.rmtree(lists, ignore_errors=True)  # what an interrupted merge has left
        make_folder(lists)
        for place, shard in found.items():
            shard.check_files(place)
            for name, part in shard.files.items():
                _put(place / name, lists / name, part)
        return with_parts(planned, parts)

    try:
        manifest = prepared(folder, lambda: finished(folder, planned), fill, MANIFEST)
    except OSError as error:
        raise OutputError(f"cannot merge {shards}: {reason(error)}") from error
    _remove(shards)
    return manifest


def planned_lists(folder: Path) -> ListManifest:
    """The manifest of the lists in `folder`, whether their shards have been merged or not; errors as for `read_shards`."""
    shards = shards_of(folder)
    for merged in (folder, beside(folder, UNPUBLISHED)):
        if not shards.exists() and (merged / MANIFEST).exists():
            return ListManifest.read_alone(merged)
    return merged_plan(read_shards(shards))


def read_shards(folder: Path) -> dict[Path, ShardManifest]:
    """The shards in a folder, by path, in order. Their files are not checked.

    Raises:
        DataError: one is missing, there twice, damaged, or made from other inputs or versions than the others.
    """
    found = {path.parent: ShardManifest.read(path.parent) for path in sorted(folder.glob(f"*/{DESCRIPTION}"))}
    if not found:
        dated = folder.with_name(folder.name.removesuffix(SHARDS)).glob(f"*{SHARDS}")
        way_out = "give the --date of those that are there" if any(dated) else "make them with export --shard"
        raise DataError(f"there are no finished shards in {folder}; {way_out}")
    first, *others = sorted({shard.shard.of for shard in found.values()})
    if others:
        raise DataError(f"{folder} mixes exports in {first} and in {others[0]} shards; remove the shards that are not wanted")
    counted = Counter(shard.shard.number for shard in found.values())
    number, times = counted.most_common(1)[0]
    if times > 1:
        places = [place.name for place, shard in found.items() if shard.shard.number == number]
        raise DataError(f"{folder} holds shard {number}/{first} twice, as {places[0]} and {places[1]}; remove one of them")
    if missing := [number for number in range(1, first + 1) if number not in counted]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{folder} lacks shard {missing[0]}/{first}{more}; export it with --shard {missing[0]}/{first}")
    ordered = dict(sorted(found.items(), key=lambda item: item[1].shard.number))
    start, *rest = ordered
    for place in rest:
        if difference := ordered[place].difference(ordered[start].planned):
            raise DataError(
                f"{start} and {place.name} were made from different inputs ({difference}); export one of them again"
            )
    return ordered


def merged_plan(shards: dict[Path, ShardManifest]) -> ListManifest:
    """The manifest of the lists that this process will make by merging these shards, as far as it is known."""
    made = {str(shard.shard): shard.planned.made for shard in shards.values()}
    first, *_ = shards.values()
    merging = replace(Provenance.start(first.planned.made.sources), started=min(one.started for one in made.values()))
    return replace(first.planned, made=replace(merging, shards=made))


def _remedy(folder: Path) -> str:
    """The way out of a damaged shard."""
    return f"remove {folder} and export the shard again"


def _put(source: Path, target: Path, part: Part) -> None:
    with whole_file(target) as draft:
        try:
            os.link(source, draft)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, draft)
    if not target.samefile(source):
        check_file(target, part.digest, "repeat the command")
