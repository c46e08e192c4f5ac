"""The command that makes lists of shards."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from recsys_ae.cli.options import PATH, TrackingUri
from recsys_ae.cli.place import Dated, DateOption, Keep, MaxCold, MinOverlap, MinUsers, Place, report


def merge(
    output: Annotated[Path, typer.Argument(help="The --output of the shards.", **PATH)],
    dated: Dated = False,
    date: DateOption = None,
    min_users: MinUsers = None,
    max_cold: MaxCold = None,
    min_overlap: MinOverlap = None,
    keep: Keep = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Make the lists of all shards that `export --shard` has made; with --date, publish them.

    Neither the model nor the history is needed. The merge is recorded in MLflow as the export if a store is given.
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
