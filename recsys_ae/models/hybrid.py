"""A hybrid autoencoder of rating vectors: ratings, features of users and items, and who rated what."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Generator

from recsys_ae.core.hybrid import HybridEnsemble, HybridNetwork
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import Objective
from recsys_ae.errors import ConfigError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import training
from recsys_ae.models.base import checked_rows
from recsys_ae.models.hybrid_objective import HybridError, SidePenalty
from recsys_ae.models.hybrid_scorers import HybridItemScorer, HybridScorer
from recsys_ae.models.rating_autoencoder import RatingAutoencoder, Widths
from recsys_ae.models.rating_scorers import Scorer, Vectors
from recsys_ae.models.side_information import Features, feature_needs
from recsys_ae.space import Range, Space


@dataclass
class HybridAutoencoder(RatingAutoencoder):
    """Autoencoder of rating vectors with features of users and items; scores users and items without ratings.

    Sources: Strub et al. 2016 for features at every layer and the two weights of the loss; Koren 2008 (SVD++) for the
    contribution of the set of rated items; Perez et al. 2018 for the modulation (FiLM). See `core.hybrid` for the equations.

    In training, a share of the rows and of the columns is `cold`: like new items and users, they have only their features, and
    the biases that these predict (see `models.baselines`). Features of cold rows and columns have weights of their own.

    Attributes:
        features: whose features are used: `both`, `users`, `items`, `none`, or whichever are `available` in the training data.
        who: whether who rated what is used beside the ratings.
        factors: size of the embedding of features and of who rated what.
        film: features of a row modulate its hidden layer.
        alpha, beta: weights of the squared errors of dropped inputs and of all others (Strub et al. 2016, equation 6).
        cold: share of rows, and of columns, that have only their features in a batch; 0 without features.
        loss: `squared_error`, or `ordinal`: cumulative logits of the distinct ratings, of which there may be up to 100; the
            prediction is the expected rating.
        who_l2: regularisation of the weights of who rated what, of the same form as `l2`.
        feature_l2: regularisation of the weights of features of users and items without ratings, of the same form as `l2`; the
            ratings of a feature are those of the users or items that have it. The weights that features have where there are
            ratings are charged `l2`.
    """

    l2: Annotated[float, Field(ge=0)] = 200.0
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    features: Features = "available"
    who: bool = True
    factors: Annotated[int, Field(ge=1)] = 64
    film: bool = False
    alpha: Annotated[float, Field(ge=0)] = 1.0
    beta: Annotated[float, Field(ge=0)] = 1.0
    loss: Literal["squared_error", "ordinal"] = "squared_error"
    who_l2: Annotated[float, Field(ge=0)] = 800.0
    cold: Annotated[float, Field(ge=0, lt=1)] = 0.1
    feature_l2: Annotated[float, Field(ge=0)] = 10.0
    space: ClassVar[Space] = {
        **RatingAutoencoder.space,
        "factors": Range(low=16, high=256, log=True),
        "who_l2": Range(low=40, high=4000, log=True),
        "feature_l2": Range(low=1, high=100, log=True),
    }

    @property
    def needs(self) -> frozenset[str]:
        return feature_needs(self.features)

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        rows = checked_rows(history, rows)
        return (np.diff(history.matrix.indptr)[rows] > 0) | self._hybrid_scorer(history).users_have_features(history, rows)

    def _hybrid_scorer(self, history: Interactions) -> HybridScorer:
        return cast(HybridScorer, self._scorer(history))

    def _module(self, widths: Widths, generator: Generator | None) -> HybridEnsemble:
        networks = [
            HybridNetwork(
                widths.columns,
                widths.rows,
                self.hidden,
                who=self.who,
                row_features=2 * widths.row_features,  # see `by_knowledge`
                column_features=2 * widths.column_features,
                factors=self.factors,
                film=self.film,
                activation=self.activation,
                initial=self.init_std,
                generator=generator,
            )
            for _ in range(self.networks)
        ]
        return HybridEnsemble(networks, widths.classes)

    def _classes(self, train: Interactions) -> int:
        return training.rating_classes(train.matrix.data, self.loss)

    def _start_from(self, before: Fitted, module: Any, widths: Widths, *ids: Any) -> None:
        own = None if module.ordinal is None else module.ordinal.values.clone()
        super()._start_from(before, module, widths, *ids)
        if own is not None and not torch.allclose(own, module.ordinal.values):
            raise ConfigError("the model to start from has other classes of ratings; use one of the same distinct ratings")

    def _scorer_class(self) -> type[Scorer]:
        return HybridScorer if self.axis == "user" else HybridItemScorer

    def _objective(self, rows: SparseRows, vectors: Vectors, scorer: Any) -> Objective[Any, SparseRows]:
        attributes, (row_features, _) = scorer.attributes(vectors), scorer.side_features()
        by_row = None if row_features is None else training.sparse_rows(row_features)
        row_prior, column_prior = map(torch.from_numpy, scorer.priors())
        return HybridError(
            self,
            attributes,
            by_row,
            torch.from_numpy(vectors.row_bias),
            row_prior,
            column_prior,
            scorer.level,
            training.Penalties((SidePenalty.of(self, vectors.inputs, attributes, by_row), scorer.bias_penalty(rows))),
        )
