"""What is in a store of MLflow."""

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from recsys_ae.tracking.mlflow_store import RECORD


def runs_in(uri: str) -> list[Run]:
    """All runs, oldest first."""
    client = MlflowClient(tracking_uri=uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(experiments, order_by=["attributes.start_time ASC"]))


def found(uri: str, run_id: str) -> Run:
    """The run with this id in its record."""
    (run,) = (run for run in runs_in(uri) if run.data.tags.get(RECORD) == run_id)
    return MlflowClient(tracking_uri=uri).get_run(run.info.run_id)


def steps(uri: str, run: Run, metric: str) -> list[tuple[int, float]]:
    """Steps and values of a metric, as often as they are stored."""
    history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, metric)
    return sorted((one.step, one.value) for one in history)
