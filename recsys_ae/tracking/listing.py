"""The runs of a store, as rows of a table."""

from dataclasses import dataclass
from datetime import datetime

from mlflow.tracking import MlflowClient

from recsys_ae.errors import DataError, did_you_mean
from recsys_ae.tracking.mlflow_store import PARENT, RECORD, pages
from recsys_ae.tracking.processes import HEARTBEAT, HOST, is_gone
from recsys_ae.tracking.record import now


@dataclass(frozen=True)
class ListedRun:
    """A run that is not below another."""

    id: str
    experiment: str
    name: str
    status: str  # that of MLflow, or "LOST" if it is RUNNING for a process that is gone
    started: datetime
    seconds: float
    host: str
    winner: str
    metrics: dict[str, float]


def listed(client: MlflowClient, experiment: str | None, limit: int) -> list[ListedRun]:
    """The newest runs of one experiment, or of all; `DataError` if no experiment has this name."""
    names = {str(one.experiment_id): str(one.name) for one in pages(client.search_experiments)}
    if experiment is not None:
        if experiment not in names.values():
            raise DataError(f"there is no experiment {experiment} in this store; {did_you_mean(experiment, names.values())}")
        names = {number: name for number, name in names.items() if name == experiment}
    found: list[ListedRun] = []
    for run in pages(client.search_runs, list(names), f"tags.`{RECORD}` != ''", order_by=["attributes.start_time DESC"]):
        tags, info = run.data.tags, run.info
        if PARENT in tags:
            continue
        lost = info.status == "RUNNING" and is_gone(tags, int(tags.get(HEARTBEAT, 0)), now())
        end = info.end_time if info.status != "RUNNING" and info.end_time else int(tags[HEARTBEAT]) if lost else now()
        found.append(
            ListedRun(
                id=info.run_id,
                experiment=names[str(info.experiment_id)],
                name=info.run_name,
                status="LOST" if lost else info.status,
                started=datetime.fromtimestamp(info.start_time / 1000),
                seconds=max(end - info.start_time, 0) / 1000,
                host=tags.get(HOST, ""),
                winner=tags.get("winner", ""),
                metrics=dict(run.data.metrics),
            )
        )
        if len(found) == limit:
            break
    return found
