"""A hybrid autoencoder of rating vectors: features of users and items, and who rated what, beside the ratings."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array
from torch import Generator, Tensor

from recsys_ae.core.axes import id_axes
from recsys_ae.core.devices import device_of
from recsys_ae.core.hybrid import Attributes, HybridNetwork, by_knowledge, unit_pattern
from recsys_ae.core.losses import LossSum, squared_error
from recsys_ae.core.sparse import SparseRows, entry_l2
from recsys_ae.core.trainer import Objective
from recsys_ae.declaration import Sizes
from recsys_ae.errors import ConfigError
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import training
from recsys_ae.models.base import Floats, checked_rows
from recsys_ae.models.rating_autoencoder import RatingAutoencoder, Widths
from recsys_ae.models.rating_scorers import ENCODE_ROWS, ItemScorer, Scorer, Vectors
from recsys_ae.models.side_information import described, stored_features

MAX_CLASSES = 100
LOGITS_PER_VALUE = 1.5  # roughly; values are from 1 to 5
ORDINAL_SCALE = 4.0  # gives the ordinal loss about the curvature of the squared error, so that l2 means the same
Features = Literal["both", "users", "items", "none"]


@dataclass
class HybridAutoencoder(RatingAutoencoder):
    """Autoencoder of rating vectors with features of users and items; scores users and items without ratings.

    Sources: Strub et al. 2016 for features at every layer and the two weights of the loss; Koren 2008 (SVD++) for what the
    set of rated items says; Perez et al. 2018 for the modulation (FiLM). See `core.hybrid` for the equations.

    In training, a share of the rows and of the columns is `cold`: these have only their features, as new items and users do,
    and the biases that their features predict (see `models.baselines`). Features have other weights there than elsewhere.

    Attributes:
        features: of which side features are used.
        who: who rated what is an input beside the ratings.
        factors: size of the embedding of features and of who rated what.
        film: features of a row modulate its hidden layer.
        alpha, beta: weights of the squared errors of dropped inputs and of all others (Strub et al. 2016, equation 6).
        cold: share of rows, and of columns, that have only their features in a batch; 0 without features.
        loss: `squared_error`, or `ordinal`: cumulative logits of the distinct ratings, of which there may be up to 100; the
            prediction is the expected rating.
        who_l2: regularisation of the weights of who rated what, of the same form as `l2`.
        feature_l2: regularisation of the weights of features of users and items without ratings, of the same form as `l2`; a
            feature has the ratings of those who have it. Where there are ratings, features have other weights, charged `l2`.
    """

    hidden: Sizes = (250,)
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    features: Features = "both"
    who: bool = True
    factors: Annotated[int, Field(ge=1)] = 64
    film: bool = False
    alpha: Annotated[float, Field(ge=0)] = 1.0
    beta: Annotated[float, Field(ge=0)] = 1.0
    loss: Literal["squared_error", "ordinal"] = "squared_error"
    who_l2: Annotated[float, Field(ge=0)] = 400.0
    cold: Annotated[float, Field(ge=0, lt=1)] = 0.1
    feature_l2: Annotated[float, Field(ge=0)] = 10.0

    @property
    def needs(self) -> frozenset[str]:
        sides = {"both": ("user", "item"), "users": ("user",), "items": ("item",), "none": ()}[self.features]
        return frozenset(f"{side}_features" for side in sides)

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        rows = checked_rows(history, rows)
        return (np.diff(history.matrix.indptr)[rows] > 0) | self._hybrid_scorer(history).described_users(history, rows)

    def _hybrid_scorer(self, history: Interactions) -> "HybridScorer":
        return cast(HybridScorer, self._scorer(history))

    def _module(self, widths: Widths, generator: Generator | None) -> HybridNetwork:
        return HybridNetwork(
            widths.columns,
            widths.rows,
            self.hidden,
            who=self.who,
            row_features=2 * widths.row_features,  # see `by_knowledge`
            column_features=2 * widths.column_features,
            factors=self.factors,
            film=self.film,
            classes=widths.classes,
            activation=self.activation,
            initial=self.init_std,
            generator=generator,
        )

    def _classes(self, train: Interactions) -> int:
        classes = len(np.unique(train.matrix.data))
        if self.loss == "ordinal" and not 2 <= classes <= MAX_CLASSES:
            raise ConfigError(
                f"loss: ordinal needs 2 to {MAX_CLASSES} distinct ratings, got {classes}; use loss: squared_error"
            )
        return classes if self.loss == "ordinal" else 0

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
            SidePenalty.of(self, vectors.inputs, attributes, by_row),
        )


@dataclass(frozen=True)
class HybridError:
    """Squared error over the observed entries, dropped inputs weighted by alpha and others by beta, plus a penalty."""

    model: HybridAutoencoder
    attributes: Attributes
    row_features: SparseRows | None  # of all rows
    row_bias: Tensor  # float32 [N], by `row_ids`
    row_prior: Tensor  # float32 [N], replaces it in cold rows
    column_prior: Tensor  # float32 [D], replaces the output's bias in cold columns
    level: float  # the mean value, which replaces dropped inputs
    penalty: "SidePenalty"
    sampled: ClassVar[bool] = True

    def loss(self, module: HybridNetwork, batch: SparseRows, generator: Generator) -> LossSum:
        entry, model = batch.row_of_entry(), self.model

        def drawn(n: int, share: float) -> Tensor:
            return (torch.rand(n, generator=generator) < share).to(entry.device)

        cold_rows = drawn(len(batch), model.cold if self.row_features is not None else 0)
        cold_columns = drawn(batch.width, model.cold if self.attributes.features is not None else 0)
        dropped = drawn(len(batch.columns), model.dropout)
        hidden = dropped | cold_rows[entry]
        features = None if self.row_features is None else by_knowledge(self.row_features[batch.row_ids], cold_rows)
        values = torch.where(dropped, self.level, batch.values) * ~cold_rows[entry]
        code = module.encode(scaled(batch.with_values(values)), features)
        by_column = self.attributes.features
        attributes = replace(self.attributes, features=None if by_column is None else by_knowledge(by_column, cold_columns))
        output = module.decode(code, batch, attributes, (cold_columns, self.column_prior))
        row_bias = torch.where(cold_rows, self.row_prior[batch.row_ids], self.row_bias[batch.row_ids])
        weight = torch.where(hidden | cold_columns[batch.columns], model.alpha, model.beta)
        output = output + row_bias[entry]
        if module.ordinal is None:
            return squared_error(output, batch.values, weight)
        errors = weight * module.ordinal.loss(output, batch.values)
        return LossSum(ORDINAL_SCALE * errors.sum(), weight.sum())


@dataclass(frozen=True)
class SidePenalty:
    """L2 of all weight matrices, in which each row is charged by the number of ratings that it has; see `training.l2_of`.

    Attributes:
        total: number of ratings.
        per_entry: float32 [D], of the weights of a column, divided by its number of ratings.
        row, row_feature, column_feature: float32 [N], [F] and [G]; a feature has the ratings of the rows that have it.
    """

    l2: float
    who_l2: float
    total: int
    per_entry: Tensor
    row: Tensor
    row_feature: Tensor | None
    column_feature: Tensor | None

    @classmethod
    def of(
        cls, model: HybridAutoencoder, inputs: csr_array, attributes: Attributes, row_features: SparseRows | None
    ) -> "SidePenalty":
        of_rows = torch.from_numpy(np.diff(inputs.indptr)).float()
        of_columns = torch.from_numpy(np.bincount(inputs.indices, minlength=inputs.shape[1])).float()

        def strength(ratings: Tensor, l2: float) -> Tensor:
            return training.l2_of(ratings.clamp(min=1), l2, model.l2_exponent)

        def by_feature(features: SparseRows | None, ratings: Tensor) -> Tensor | None:
            if features is None:
                return None
            squares = features.values.square() * ratings[features.row_of_entry()]
            n = torch.zeros(features.width).index_add_(0, features.columns, squares)
            return torch.cat([strength(n, model.l2), strength(n, model.feature_l2)])

        per_entry = strength(of_columns, model.l2) / of_columns.clamp(min=1)
        of_features = by_feature(row_features, of_rows), by_feature(attributes.features, of_columns)
        return cls(model.l2, model.who_l2, inputs.nnz, per_entry, strength(of_rows, model.who_l2), *of_features)

    def __call__(self, module: HybridNetwork, batch: SparseRows) -> Tensor:
        """The batch's share of the penalty."""
        axes, named = id_axes(module), dict(module.named_parameters())
        wide = [named[name] for name, axis in axes.items() if axis != "rows" and named[name].ndim == 2]
        one = torch.ones(1, device=batch.values.device)
        terms: list[tuple[Tensor | None, Tensor | None]] = []
        terms += [(self.l2 * one, weight) for weight in module.inner_weights] + [(self.who_l2 * one, module.projection)]
        terms += [(self.row, module.who_factors), (self.row, module.who_bias)]
        terms += [(self.row_feature, weight) for weight in (*module.feature_weights, module.film_weight)]
        terms += [(self.column_feature, weight) for weight in (module.feature_factors, module.feature_bias)]
        share = len(batch.columns) / self.total / 2
        parts = [entry_l2(weight, batch, self.per_entry) for weight in wide]
        for strength, weight in terms:
            if weight is not None and strength is not None:
                squares = weight.square() if weight.ndim == 1 else weight.square().sum(1)
                parts.append(share * (strength * squares).sum())
        return torch.stack(parts).sum()


def scaled(x: SparseRows) -> SparseRows:
    """Inputs of a row with n entries, divided by sqrt(n / 50): rows with many ratings do not drown the hidden layer."""
    return x.with_values(x.values * (50 / x.lengths.clamp(min=1).float()).sqrt()[x.row_of_entry()])


class HybridScorer(Scorer):
    """Vectors of users, with features; the factors of columns are learned once, from the training ratings."""

    def as_bias(self, bias: NDArray[np.float64]) -> Floats:
        return super().as_bias(bias) * np.float32(LOGITS_PER_VALUE if self.module.ordinal else 1)

    @property
    def output_level(self) -> np.float32:
        """The output of the mean rating, without biases."""
        return np.float32(0 if self.module.ordinal else self.level)

    @torch.no_grad()
    def start(self, inputs: SparseRows, vectors: Vectors) -> None:
        self.module.output_bias.copy_(torch.from_numpy(self.output_level + vectors.column_bias))
        if self.module.ordinal is not None:
            self.module.ordinal.start_from(inputs.values)

    @torch.no_grad()
    def outputs_for(self, values: Floats) -> Floats:
        ordinal = self.module.ordinal
        return values if ordinal is None else np.interp(values, ordinal.values.cpu(), ordinal.middles().cpu())

    @torch.no_grad()
    def to_ratings(self, output: Floats) -> Floats:
        ordinal = self.module.ordinal
        return super().to_ratings(output if ordinal is None else ordinal.expected(torch.from_numpy(output)).numpy())

    def side_features(self) -> tuple[csr_array | None, csr_array | None]:
        """Features of all rows and of all columns of the training vectors."""
        tables = [stored_features(self.fitted, f"{side}_features") for side in ("user", "item")]
        rows, columns = (None if table is None else table.matrix for table in tables)
        return (rows, columns) if self.columns == "items" else (columns, rows)

    def attributes(self, vectors: Vectors) -> Attributes:
        """Side information of the columns, given the training vectors."""
        who = unit_pattern(training.sparse_rows(vectors.inputs.T.tocsr())) if self.model.who else None
        _, features = self.side_features()
        return Attributes(who, None if features is None else training.sparse_rows(features))

    def priors(self) -> tuple[Floats, Floats]:
        """Biases of rows [N] and columns [D] from their features alone, as values; those of columns with the mean."""
        users = stored_features(self.fitted, "user_features")
        of_users = self.user_prior(len(self.fitted.ids["users"]), None if users is None else users.matrix)
        of_items = self.as_bias(self.biases.item_prior)
        return (
            (of_users, np.float32(self.level) + of_items)
            if self.columns == "items"
            else (of_items, np.float32(self.level) + of_users)
        )

    def user_prior(self, n_users: int, features: csr_array | None) -> Floats:
        return self.as_bias(self.biases.user_prior(n_users, features))

    @property
    def level(self) -> float:
        """The mean rating as a value."""
        return (self.biases.mean - self.low) / self.unit

    def described_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: users with a known feature."""
        features = self.user_features(history, rows)
        if features is None or self.known_features is None:
            return np.zeros(len(rows), bool)
        return described(self.known_features, features)

    def known_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        return super().known_users(history, rows) | self.described_users(history, rows)

    def known_items(self) -> NDArray[np.bool_]:
        table = stored_features(self.fitted, "item_features")
        return self.rated_items if table is None else self.rated_items | described(table, table.matrix)

    @torch.no_grad()
    def row_factors(self, vectors: Vectors, features: csr_array | None) -> Floats:
        x, device = scaled(training.sparse_rows(vectors.inputs)), device_of(self.module)
        side = None if features is None else training.sparse_rows(features)
        codes = [
            self.module.encode(
                x[at].to(device), None if side is None else by_knowledge(side[at], x.lengths[at] == 0).to(device)
            )
            for at in torch.arange(len(x)).split(ENCODE_ROWS)
        ]
        hidden = torch.cat(codes).cpu().numpy()
        return np.c_[hidden, np.ones(len(hidden), np.float32), vectors.row_bias]

    def column_factors(self, columns: Rows | slice = slice(None)) -> Floats:
        return self.fitted.arrays["column_factors"][columns]

    @torch.no_grad()
    def learned(self, vectors: Vectors) -> dict[str, Floats]:
        rated = np.bincount(vectors.inputs.indices, minlength=vectors.inputs.shape[1]) > 0
        weight, bias = (own.detach().cpu().numpy() for own in (self.module.output_weight, self.module.output_bias))
        own = np.c_[np.where(rated[:, None], weight, 0), np.where(rated, bias, self.priors()[1])]
        return {
            **super().learned(vectors),
            "column_factors": _with_one(own + self.column_terms(self.attributes(vectors), ~rated)),
        }

    def column_terms(self, attributes: Attributes, cold: NDArray[np.bool_]) -> Floats | float:
        """What attributes add to weights and bias, [D, H + 1], given which columns have no ratings."""
        if attributes.features is not None:
            attributes = replace(attributes, features=by_knowledge(attributes.features, torch.from_numpy(cold)))
        with torch.no_grad():
            terms = self.module.column_terms(attributes.to(device_of(self.module)))
        return terms if isinstance(terms, float) else cast(Floats, terms.cpu().numpy())


class HybridItemScorer(HybridScorer, ItemScorer):
    """Vectors of items, encoded once; the columns of new users come from their features, and from their ratings."""

    def prior_factors(self, history: Interactions, rows: Rows) -> Floats:
        features = self.user_features(history, rows)
        rated = self.of_rated(history.matrix[rows])
        who = unit_pattern(training.sparse_rows(rated)) if self.model.who else None
        own = np.zeros((len(rows), self.item_factors().shape[1] - 1), np.float32)
        own[:, -1] = self.output_level + self.user_prior(len(rows), features)
        side = Attributes(who, None if features is None else training.sparse_rows(features))
        return _with_one(own + self.column_terms(side, np.diff(rated.indptr) == 0))


def _with_one(factors: NDArray[Any]) -> Floats:
    return np.c_[factors, np.ones(len(factors), np.float32)].astype(np.float32)
