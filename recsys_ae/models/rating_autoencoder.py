"""Autoencoders of rating vectors, of items or of users: what AutoRec and its hybrid share.

Shapes: a history has N users and M items; B users are scored; a vector has D columns; H units precede the output.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field
from torch import Generator, nn

from recsys_ae.core.autoencoder import ACTIVATIONS
from recsys_ae.core.axes import check_id_axes
from recsys_ae.core.devices import Device
from recsys_ae.core.memory import training_memory
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import Objective, TrainConfig, fit
from recsys_ae.declaration import OneOf, Sizes
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import training
from recsys_ae.models.base import (
    FitContext,
    Floats,
    Recommender,
    checked_pairs,
    checked_rows,
    fitted_on,
    item_counts,
)
from recsys_ae.models.baselines import Biases
from recsys_ae.models.rating_scorers import Scorer, Vectors
from recsys_ae.models.side_information import SideFeatures, used_features
from recsys_ae.space import Range, Space


class Widths(NamedTuple):
    """The sizes of a network that depend on the data: numbers of columns, rows, features of a row and of a column, classes."""

    columns: int
    rows: int
    row_features: int = 0
    column_features: int = 0
    classes: int = 0


@dataclass
class RatingAutoencoder(Recommender):
    """An autoencoder that reconstructs the rating vector of each item, with one entry per user, or of each user.

    Who can be scored. `user`: anyone with a history of rated items. `item`: items are encoded from their training ratings,
    users are columns of the output. The column of a new user is fitted to their history by the same objective (ridge
    regression on the items' codes); new ratings of training users have no effect until the next fit. With both, a user or
    item without ratings gets the baseline of `models.baselines`: mean, user bias and item bias, as far as they exist. Biases of
    items are shrunk towards what their popularity predicts.

    Scores are predicted ratings, not clipped to the scale; predictions are clipped. Internally, ratings are mapped to a scale
    from 1 to 5, so that the other parameters do not depend on theirs.

    Attributes:
        axis: whose rating vectors are reconstructed, `item` or `user`.
        hidden: sizes of the encoder's layers; the decoder mirrors them.
        networks: how many networks, with different initial weights, are trained side by side on the same batches; the mean of
            their outputs is the output, before a sigmoid or the expectation of an ordinal loss.
        activation: of the hidden layers, see `core.autoencoder.ACTIVATIONS`.
        centring: with `bias`, the bias (see `models.baselines`) of the vector's item or user is added to the output, and the
            output's own biases are regularised like those of the baseline, on which the model thus falls back where ratings are
            few; with `none`, the output is the whole rating, and its biases are free. The inputs are ratings in both cases.
        l2, l2_exponent: regularisation. In the first and last layer, the weights of a column with n ratings are charged
            l2 * ((n + 25) / 100)^l2_exponent; inner weight matrices are charged l2.
        dropout: share of the observed inputs dropped in training.
        init_std: standard deviation of the initial weights.
        epochs, batch_size, learning_rate, learning_rate_decay, patience, device: see `core.trainer.TrainConfig`.
    """

    axis: Literal["item", "user"] = "item"
    hidden: Sizes = (500,)
    networks: Annotated[int, Field(ge=1, le=100)] = 1
    activation: Annotated[str, OneOf("activation", ACTIVATIONS)] = "centred_sigmoid"
    centring: Literal["none", "bias"] = "bias"
    l2: Annotated[float, Field(ge=0)] = 150.0
    l2_exponent: Annotated[float, Field(ge=0, le=1)] = 0.5
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init_std: Annotated[float, Field(gt=0)] = 0.03
    epochs: Annotated[int, Field(ge=1)] = 45
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    patience: Annotated[int, Field(ge=0)] = 20
    device: Device = "cpu"
    space: ClassVar[Space] = {
        "l2": Range(low=20, high=2000, log=True),
        "hidden": [[100], [250], [500]],
        "dropout": Range(low=0, high=0.7),
        "learning_rate": Range(low=0.0003, high=0.005, log=True),
    }
    predicts_ratings: ClassVar[bool] = True
    validation_name: ClassVar[str] = "valid_rmse"

    @abstractmethod
    def _module(self, widths: Widths, generator: Generator | None) -> Any:
        """The ensemble of networks, each with an `output_bias` [D]."""

    @abstractmethod
    def _scorer_class(self) -> type[Scorer]:
        """How histories are mapped to the network, and its outputs to scores."""

    @abstractmethod
    def _objective(self, rows: SparseRows, vectors: Vectors, scorer: Any) -> Objective[Any, SparseRows]:
        """What is minimised on the training rows, which are `vectors.inputs` without the empty ones."""

    def _classes(self, train: Interactions) -> int:
        """Number of classes if ratings are predicted as classes, else 0."""
        return 0

    def _memory(self, n_users: int, n_items: int) -> int:
        return training_memory(lambda: self._module(Widths(*self._columns_and_rows(n_users, n_items)), None))

    def _columns_and_rows(self, users: Any, items: Any) -> tuple[Any, Any]:
        return (items, users) if self.axis == "user" else (users, items)

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        own = {"rated_items": item_counts(train) > 0}
        about = fitted_on(train, own, keep_users=True, keep_scale=True, features=used_features(self, train))
        tables = SideFeatures.of(about, "user"), SideFeatures.of(about, "item")
        of_users, of_items = (None if table is None else table.matrix for table in tables)
        biases = Biases.fit(train, user_features=of_users, item_features=of_items, popularity=True)
        columns, rows = self._columns_and_rows(train.users, train.items)
        numbers = (0 if matrix is None else matrix.shape[1] for matrix in (of_users, of_items))
        column_features, row_features = self._columns_and_rows(*numbers)
        widths = Widths(len(columns), len(rows), row_features, column_features, self._classes(train))
        meta = {**about.meta, "widths": list(widths)}
        about = replace(about, arrays={**about.arrays, **biases.arrays()}, meta=meta)
        module = self._module(widths, Generator().manual_seed(context.seed))
        scorer = self._scorer_class()(self, module, about)
        vectors = scorer.vectors(train.matrix, of_users)
        inputs = training.observed_rows(vectors.inputs)
        scorer.start(inputs, vectors)
        if context.before is not None:
            self._start_from(context.before, module, widths, columns, rows)

        def state() -> Fitted:
            return replace(about, arrays={**about.arrays, **training.weights_of(module), **scorer.learned(vectors)})

        def predict(*pairs: Any) -> Floats:
            return self._scorer_class()(self, module, state()).predict_rows(*pairs)

        objective = self._objective(inputs, vectors, scorer)
        valid = training.rating_validation(predict, context.history, context.valid)
        fit(module, objective, inputs, TrainConfig.of(self, seed=context.seed), valid=valid, callbacks=context.callbacks)
        return state()

    def _start_from(self, before: Fitted, module: nn.Module, widths: Widths, *ids: Any) -> None:
        check_id_axes(lambda n: self._module(widths._replace(columns=n, rows=n), None))
        old = self._columns_and_rows(before.ids["users"], before.ids["items"])
        columns, rows = zip(ids, old, strict=True)
        training.copy_matching_parameters(module, before.arrays, {"inputs": columns, "outputs": columns, "rows": rows})

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return self._scorer(history).scores(history, checked_rows(history, rows))

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        return self._scorer(history).predict_rows(history, *checked_pairs(history, user_rows, item_rows))

    def item_vectors(self) -> Floats:
        return self._scorer().item_factors()[:, :-2]

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        return self._scorer(history).user_factors(history, checked_rows(history, rows))[:, :-2]

    def _scorer(self, *histories: Interactions) -> Scorer:
        return self.derived(self._restored, *histories)

    def _restored(self, fitted: Fitted) -> Scorer:
        module = self._module(Widths(*fitted.meta["widths"]), None)
        training.load_weights(module, fitted.arrays)
        return self._scorer_class()(self, module, fitted)
