"""Views of an experiment: without one, MLflow's list of runs shows neither metrics nor tags."""

import json
from collections.abc import Sequence
from typing import Any

from recsys_ae.digests import digest_of_json

TAG = "mlflow.sharedViewState."  # of an experiment, followed by the key of a view
PLAIN = ["duration", "attributes.`Models`"]  # columns of every view, after its own
TESTED = "Model metrics"  # MLflow's name of the section of charts of metrics without a `/`, which it shows last
SECTIONS = [TESTED, "by_epoch", "valid", "fit", "interval", "deviation", "best_reachable"]
FOLDED = {"interval", "deviation", "best_reachable"}  # which do not compare models


def view_key(columns: Sequence[str]) -> str:
    """The key of a view, which is an argument of the page's address: views with the same columns are the same."""
    return digest_of_json(list(columns))[:12]


def view_tag(name: str, columns: Sequence[str], created: int) -> dict[str, str]:
    """The tag of an experiment that holds a view.

    Args:
        columns: such as "metrics.rmse" or "tags.winner".
        created: a time in milliseconds since 1970.
    """
    own = ["{}.`{}`".format(*column.split(".", 1)) for column in columns]
    sections = [_section(section) for section in SECTIONS]
    charts = {"compareRunCharts": [], "compareRunSections": sections, "isAccordionReordered": True}  # MLflow adds the charts
    state = {"selectedColumns": [*own, PLAIN[-1]], "columnOrder": [*own, *PLAIN], **charts}
    return {TAG + view_key(columns): json.dumps({"name": name, "createdAt": created, "state": json.dumps(state)})}


def _section(name: str) -> dict[str, Any]:
    kept = {"isReordered": False, "deleted": False, "isGenerated": True}
    return {"uuid": name, "name": name, "display": name not in FOLDED, **kept}
