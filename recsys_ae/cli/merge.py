"""The command that merges shards."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from recsys_ae.cli.options import PATH
from recsys_ae.cli.place import Dated, DateOption, Keep, MaxCold, MinOverlap, MinUsers, Place, RecordIn, report


def merge(
    output: Annotated[Path, typer.Argument(help="The --output of the shards.", **PATH)],
    dated: Dated = False,
    date: DateOption = None,
    min_users: MinUsers = None,
    max_cold: MaxCold = None,
    min_overlap: MinOverlap = None,
    keep: Keep = None,
    tracking_uri: RecordIn = None,
) -> None:
    """Merge the shards made by `export --shard`; with --date, publish the lists.

    Neither the model nor the history is needed. If a store is given, the merge is recorded in MLflow as the export.
    """
    from recsys_ae.experiment.list_files import ListFiles
    from recsys_ae.export.manifest import MANIFEST
    from recsys_ae.export.shards import merge_shards, planned_lists, shards_of
    from recsys_ae.tracking.lineage import export_run, record_export

    place = Place(output, dated, date, min_users, max_cold, min_overlap, keep)
    make = partial(merge_shards, shards=shards_of(place.folder))

    planned = planned_lists(place.folder)
    files = ListFiles.of(planned.made.sources, tracking_uri=tracking_uri)
    with export_run(files.model, planned.model_digest, place.folder, tracking_uri) as run:
        manifest = place.fill(make)
        record_export(run, files.dataset, asdict(manifest), place.folder / MANIFEST)
    report(manifest, place.folder)
