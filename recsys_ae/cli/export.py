"""The commands that make lists and verify them."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys_ae.cli.options import PATH, CardOption, Cold, TrackingUri, terminal
from recsys_ae.errors import ConfigError

if TYPE_CHECKING:
    from recsys_ae.export.manifest import ListManifest

ModelArgument = Annotated[str, typer.Argument(help="A model folder, or an MLflow URI such as runs:/ID/model.")]


def export(
    model: ModelArgument,
    history: Annotated[Path, typer.Option(help="What users have done so far: CSV, TSV, '::', JSON lines or Parquet.", **PATH)],
    output: Annotated[Path, typer.Option(help="New folder for the lists; with --dated, the folder of all dates.", **PATH)],
    k: Annotated[int, typer.Option(help="Length of the lists.")] = 100,
    users: Annotated[
        Path | None,
        typer.Option(help="Lists for the users of this file, such as a truth, instead of those of the history.", **PATH),
    ] = None,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Also recommend items users have seen.")] = False,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Skip interactions with items the model does not know.")
    ] = False,
    cold: Annotated[Cold, typer.Option(help="Policy for users the model cannot score.")] = "popular",
    part_users: Annotated[int, typer.Option(help="Users in each file; a kill loses the work on at most one.")] = 8192,
    dated: Annotated[bool, typer.Option("--dated", help="Publish as OUTPUT/DATE, to which OUTPUT/latest then leads.")] = False,
    date: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Implies --dated. Default: today.")] = None,
    min_users: Annotated[int | None, typer.Option(help="Publish only if so many users have a list.")] = None,
    max_cold: Annotated[float | None, typer.Option(help="Publish only if at most this share of users is cold.")] = None,
    min_overlap: Annotated[
        float | None, typer.Option(help="Publish only if users keep this share of the items of their last list.")
    ] = None,
    keep: Annotated[int | None, typer.Option(help="Dated folders to keep; older ones are removed.")] = None,
    card: CardOption = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write top-k lists for all users of a history, or for those of another file.

    The export is recorded in MLflow if a store is given, by --tracking-uri or $MLFLOW_TRACKING_URI.
    """
    from recsys_ae.experiment.pipeline_file import ratings_card
    from recsys_ae.export.histories import history_for, users_in
    from recsys_ae.export.local import export_recommendations
    from recsys_ae.export.manifest import MANIFEST
    from recsys_ae.export.provenance import Sources
    from recsys_ae.export.publication import Checks, publish
    from recsys_ae.models.storage import load_model, model_digest
    from recsys_ae.tracking import local_copy
    from recsys_ae.tracking.lineage import export_run, record_export

    checks, dated = Checks(min_users, max_cold, min_overlap), dated or date is not None
    if not dated and (keep is not None or checks != Checks()):
        raise ConfigError("--min-users, --max-cold, --min-overlap and --keep are for dated lists; add --dated")
    loaded = load_model(local_copy(model, tracking_uri))
    described = ratings_card(card) if card else None
    wanted = None if users is None else users_in(loaded, users, described)
    data, skipped = history_for(loaded, history, described, skip_unknown=skip_unknown, users=wanted)
    without = data.n_users - len(set(data.user_rows())) if skipped else 0
    files = {"history": history, "users": users, "card": Path(card) if card and Path(card).is_file() else None}
    sources = Sources.of(model, files, options={"skip_unknown": skip_unknown}, skipped_events=skipped, skipped_users=without)
    options: dict[str, Any] = {"users": wanted, "exclude_seen": not include_seen, "cold": cold, "part_users": part_users}

    def make(folder: Path) -> "ListManifest":
        return export_recommendations(loaded, data, folder, k, **options, sources=sources)

    date = date or f"{datetime.now():%Y-%m-%d}"
    folder = output / date if dated else output
    with export_run(model, model_digest(loaded), folder, tracking_uri) as run:
        manifest = publish(make, output, date, checks, keep) if dated else make(folder)
        record_export(run, described[0].name if described else history.stem, asdict(manifest), folder / MANIFEST)
    console = terminal()
    if skipped:
        console.print(f"{skipped} interactions with unknown items skipped; {without} users have no others")
    if manifest.cold_users:
        console.print(f"{manifest.cold_users} users the model cannot score: {cold}")
    console.print(f"{manifest.rows} recommendations for {manifest.n_users} users: {folder}", soft_wrap=True)
