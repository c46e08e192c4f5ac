"""Recommenders as MLflow models: nothing is pickled, and the code is that of the installed recsys-ae.

An MLflow model holds the folder of a saved model, what `recommender.write_serving` writes, `model_code.py`, and a signature.
"""

import logging
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from threading import Lock
from typing import Any, get_args

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import DataType
from mlflow.types.schema import AnyType, Array, ColSpec, ParamSchema, ParamSpec, Schema

import recsys_ae
from recsys_ae.errors import ConfigError, RecsysError, did_you_mean, quoted
from recsys_ae.fitted import Fitted
from recsys_ae.interactions import Interactions
from recsys_ae.models.recommend import Cold
from recsys_ae.serving.recommender import ServedRecommender, Settings, write_serving

MODEL, SERVING = "model", "serving"  # folders among the artifacts of an MLflow model
PARAMS = ("k", "exclude_seen", "candidates", "cold")
CODE = Path(__file__).with_name("model_code.py")
EXAMPLE_ITEMS = 3

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about its own type hints
    from mlflow.pyfunc import save_model
    from mlflow.pyfunc.model import PythonModel

logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # it announces each step of saving a model


class MlflowRecommender(PythonModel):
    """A `ServedRecommender` as MLflow calls it, one request at a time: not all compiled loops can be entered twice."""

    def load_context(self, context: Any) -> None:
        self._lock = Lock()
        self._served = ServedRecommender(*(Path(context.artifacts[name]) for name in (MODEL, SERVING)))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The lists for a table, see `ServedRecommender.answer`; an invalid request raises `MlflowException`.

        MLflow drops most unknown columns and parameters; unknown parameters that do get here are refused.
        """
        try:
            options = _checked(params or {})
            with self._lock:
                return self._served.answer(model_input, **options)
        except RecsysError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


def _checked(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters; `ConfigError` for unknown names or policies."""
    if unknown := next((name for name in params if name not in PARAMS), None):
        raise ConfigError(f"unknown parameter {quoted(unknown)}; {did_you_mean(str(unknown), PARAMS)}")
    if (cold := params.get("cold")) is not None and cold not in get_args(Cold):
        raise ConfigError(f"cold must be one of {', '.join(get_args(Cold))}, got {quoted(cold)}")
    return params


def signature_of(fitted: Fitted, settings: Settings) -> ModelSignature:
    """Inputs, outputs and parameters of a model; ids have the type that they have in its training data."""
    types = {"int": DataType.long, "str": DataType.string}
    user, item = types[fitted.meta["user_ids"]], types[fitted.ids["items"].kind]
    # of any type, because a history is a list of ids or of events
    inputs: list[Any] = [ColSpec(user, "user_id", required=False), ColSpec(AnyType(), "history", required=False)]
    lists = {"item_id": item, "rank": DataType.integer, "score": DataType.float}
    outputs: list[Any] = [
        ColSpec(user, "user_id", required=False),
        *(ColSpec(Array(kind), name) for name, kind in lists.items()),
    ]
    params = [
        ParamSpec("k", DataType.integer, settings.k),
        ParamSpec("exclude_seen", DataType.boolean, settings.exclude_seen),
        ParamSpec("candidates", item, [], (-1,)),
        ParamSpec("cold", DataType.string, settings.cold),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema(params))


def example_of(fitted: Fitted, history: Interactions | None) -> pd.DataFrame:
    """A request that the model can answer: the history of a new user and, if any is stored, that of a known one."""
    items = fitted.ids["items"].values[(-fitted.arrays["popularity"]).argsort(kind="stable")[:EXAMPLE_ITEMS]].tolist()
    scale = fitted.meta["scale"]
    events = items if scale is None else [{"item_id": item, "rating": scale[1]} for item in items]
    new = 0 if fitted.meta["user_ids"] == "int" else "someone"
    rows: list[tuple[Any, Any]] = [(new, events)]
    if history is not None:
        rows.append((history.users.values[:1].tolist()[0], None))
    return pd.DataFrame(rows, columns=["user_id", "history"])


def write_mlflow_model(
    saved: Path, folder: Path, settings: Settings, history: Interactions | None = None, seen: Interactions | None = None
) -> None:
    """Write the model in the folder `saved` as an MLflow model, to a new folder.

    Args:
        history, seen: see `write_serving`.

    Raises:
        DataError: `saved` holds no recommender, or a damaged one.
    """
    _, _, fitted = Fitted.load(saved)
    with tempfile.TemporaryDirectory() as name:
        parts = {part: Path(name, part) for part in (MODEL, SERVING)}  # named as among the artifacts
        for part in parts.values():
            part.mkdir()
        write_serving(parts[SERVING], settings, history, seen)
        save_model(
            folder,
            python_model=str(CODE),
            artifacts={part: str(path) for part, path in parts.items()},
            signature=signature_of(fitted, settings),
            input_example=(example_of(fitted, history), {"k": settings.k}),
            pip_requirements=[f"recsys-ae=={recsys_ae.__version__}"],
            mlflow_model=Model(),
        )
    # MLflow would copy the model twice
    shutil.copytree(saved, folder / "artifacts" / MODEL, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    """Hard-link a file, which is never changed in place, or copy it where that is impossible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
