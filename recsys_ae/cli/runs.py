"""The commands on tracked runs."""

from pathlib import Path
from typing import Annotated

import typer

from recsys_ae.cli.options import PATH, TrackingUri, print_table, terminal
from recsys_ae.errors import ConfigError

runs_app = typer.Typer(
    help="List tracked runs, close those of killed processes, upload records.", rich_markup_mode=None, no_args_is_help=True
)


@runs_app.command("list")
def list_runs(
    experiment: Annotated[str | None, typer.Option(help="Only the runs of this experiment.")] = None,
    metric: Annotated[str, typer.Option(help="The metric of the winner to show.")] = "ndcg@10",
    limit: Annotated[int, typer.Option(min=1, help="Number of runs, newest first.")] = 20,
    tracking_uri: TrackingUri = None,
) -> None:
    """List the newest runs of a store."""
    from recsys_ae.tracking import open_store
    from recsys_ae.tracking.listing import listed
    from recsys_ae.tracking.mlflow_store import metric_name

    with open_store(tracking_uri) as client:
        found = listed(client, experiment, limit)
    rows = []
    for run in found:
        value = run.metrics.get(metric_name(metric))
        took, shown = f"{run.seconds:.0f} s", "-" if value is None else f"{value:.4f}"
        started = f"{run.started:%Y-%m-%d %H:%M:%S}"
        rows.append([run.id, run.experiment, run.name, run.status, started, took, run.host, run.winner or "-", shown])
    print_table("id", "experiment", "name", "status", "started", "took", "host", "winner", metric, rows=rows)


@runs_app.command()
def close(tracking_uri: TrackingUri = None) -> None:
    """Close the runs of killed processes, which MLflow still shows as running.

    A run on this host is closed if its process is gone; one on another host, after ten minutes without a sign of life.
    """
    from recsys_ae.tracking import open_store
    from recsys_ae.tracking.mlflow_store import close_lost

    with open_store(tracking_uri) as client:
        closed = close_lost(client)
    for run in closed:
        terminal().print(f"closed as killed: {run.info.run_name} ({run.info.run_id})", soft_wrap=True)
    if not closed:
        terminal().print("no run was left open by a killed process")


@runs_app.command()
def upload(
    folder: Annotated[Path, typer.Argument(help="The --output of a run.", **PATH)],
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow store. Default: the one that the run was meant for.")] = None,
) -> None:
    """Send a store what it lacks of a run, because it could not be used at the time."""
    from recsys_ae.surroundings import masked
    from recsys_ae.tracking.upload import recorded_store, upload

    uri = tracking_uri or recorded_store(folder)
    if uri == "none":
        raise ConfigError("the tracking URI is 'none'; give that of a store as --tracking-uri")
    sent = upload(folder, uri)
    what = f"sent {sent} entries to" if sent else "nothing was missing in"
    terminal().print(f"{what} {masked(uri)}", soft_wrap=True)
