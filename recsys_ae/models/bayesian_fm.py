"""A Bayesian factorisation machine of ratings, by Gibbs sampling."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, eye_array, hstack

from recsys_ae.core.gibbs import Chain
from recsys_ae.core.kernels.gibbs import expected_rows
from recsys_ae.declaration import likely_cause
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, checked_pairs, checked_rows, fitted_on, fitted_state, item_counts
from recsys_ae.models.costs import announce
from recsys_ae.models.factors import FactorModel, kept_columns, kept_entries, pair_products
from recsys_ae.models.side_information import (
    Features,
    SideFeatures,
    feature_needs,
    has_features,
    stored_features,
    used_features,
    user_features,
)
from recsys_ae.ranking import row_of_entry
from recsys_ae.space import Range, Space

WARM_UP = 20  # first epochs, with fixed priors and noise
ENTRIES = 5e8  # ratings and attributes that a chain processes per second, roughly
ROUNDS = 3  # of the fixed point that finds the noise of a user; the RMSE no longer changes


class Sample(NamedTuple):
    """One draw of all that predictions need: everything but the users' own factors. H = K + 1 numbers: the bias, and factors.

    Attributes:
        items: [M, H].
        attributes: [1 + A, H], the mean of all users, then what each of their attributes adds: rated items, and features.
        precision: [1, H], of the users around that.
        spread: [1, 2], shape and rate of the gamma distribution of the precision of a user's noise.
    """

    items: NDArray[Any]
    attributes: NDArray[Any]
    precision: NDArray[Any]
    spread: NDArray[Any]

    @classmethod
    def of(cls, chain: Chain) -> "Sample":
        """The present state of a chain."""
        users, items = chain.rows, chain.columns
        of_user = [0, *range(2, len(users.weights))]
        first = users.bounds[1]  # the ids come before
        return cls(
            (items.weights @ items.attributes.T)[1:].T,
            np.c_[users.mean[of_user, 0], users.weights[of_user, first:]].T,
            users.precision[of_user, :1].T,
            np.array([chain.noise_prior()]),
        )


@dataclass
class BayesianFM(FactorModel):
    """Bayesian factorisation machine: mean, biases and products of factors, averaged over the posterior.

    The factors of a user are the sum of their own and of those of their attributes: the items they have rated ("who rated
    what", each divided by the square root of their number), and their features; for items likewise. See `core.gibbs` for the
    equations, the priors and the sources. Everything is drawn by Gibbs sampling, so that there is no regularisation to tune,
    and no validation part is needed.

    Who can be scored: users with ratings of trained items, or with features. In each of the kept samples, a user's factors are
    their expected values given their history, also for training users, whose new ratings therefore count at once; without
    ratings, those that their features predict. Items without training ratings have the factors that their features predict.
    Ratings of such items count only if the items have features and nothing else is known of the user, because what the features
    do not explain would be taken for the user's taste. Other users cannot be scored.

    Scores are predicted ratings, not clipped to the scale; predictions are clipped.

    A fitted model takes 4 * samples * (K + 1) * (2 M + columns of users' features) bytes. Chains run in parallel; the result
    does not depend on the number of threads. `fit` logs the memory and time that it takes, unless both are small.

    Attributes:
        factors: K.
        epochs: draws of all parameters in each chain.
        burn_in: share of the first epochs from which no sample is kept.
        chains: independent chains, over which predictions are averaged too.
        samples: draws to keep from all chains together, at equal distances; at most all after the burn-in.
        who: whether who rated what is used beside the ratings.
        features: whose features are used, see `HybridAutoencoder`.
        noise: `user`: each user has a variance of the noise; `shared`: all have the same.
    """

    factors: Annotated[int, Field(ge=1)] = 32
    epochs: Annotated[int, Field(ge=1)] = 300
    burn_in: Annotated[float, Field(ge=0, lt=1)] = 0.3
    chains: Annotated[int, Field(ge=1, le=100)] = 2
    samples: Annotated[int, Field(ge=1)] = 64
    who: bool = True
    features: Features = "none"
    noise: Literal["user", "shared"] = "user"
    space: ClassVar[Space] = {"factors": Range(low=5, high=50, log=True)}
    predicts_ratings: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[str]:
        return feature_needs(self.features)

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        rows = checked_rows(history, rows)
        fitted = fitted_state(self, history)
        side = SideFeatures.of(fitted, "user")
        rated = np.diff(_ratings_for_factors(fitted, history, rows).indptr) > 0
        return rated if side is None else rated | side.users_have_features(history, rows)

    def _memory(self, n_users: int, n_items: int) -> int:
        in_chain, kept = 3 * 8 * 2 * (n_users + n_items), 3 * 4 * self._kept_per_chain() * 2 * n_items
        return (self.factors + 2) * (self._at_once * in_chain + self.chains * kept)

    @property
    def _at_once(self) -> int:
        """The number of chains that run in parallel."""
        return min(self.chains, numba.get_num_threads())

    def _kept_per_chain(self) -> int:
        return min(-(-self.samples // self.chains), self.epochs - int(self.burn_in * self.epochs))

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        features = used_features(self, train)
        about = fitted_on(
            train,
            {"rated_items": item_counts(train) > 0},
            keep_users="user_features" in features,
            keep_scale=True,
            features=features,
        )
        ratings = train.matrix.astype(np.float64)
        mean, unit = ratings.data.mean(), ratings.data.std() or 1.0
        ratings.data = (ratings.data - mean) / unit
        sides = [SideFeatures.of(about, side) for side in ("user", "item")]
        groups = [self._groups(ratings, sides[0]), self._groups(ratings.T.tocsr(), sides[1])]
        seeds = np.random.SeedSequence(context.seed).spawn(self.chains)
        self._announce(ratings, sum(group.nnz for side in groups for group in side))

        def samples(seed: np.random.SeedSequence) -> list[Sample]:
            own = self.noise == "user"
            chain = Chain(ratings, *groups, factors=self.factors, noise_per_row=own, rng=np.random.default_rng(seed))
            return list(self._kept(chain))

        with ThreadPoolExecutor(self._at_once) as pool:
            kept = [sample for chain in pool.map(samples, seeds) for sample in chain]
        fields = zip(Sample._fields, zip(*kept, strict=True), strict=True)
        learned: dict[str, NDArray[Any]] = {name: np.stack(own, axis=1).astype(np.float32) for name, own in fields}
        return replace(about, arrays={**about.arrays, **learned, "mean": np.array([mean]), "unit": np.array([unit])})

    def _announce(self, ratings: csr_array, attributes: int) -> None:
        """Log the memory and time that all chains take; `attributes` is the number of their stored entries."""
        needed = self._memory(*ratings.shape) + self._at_once * (45 * ratings.nnz + 20 * attributes)
        entries = self.epochs * (self.factors + 2) * (4 * ratings.nnz + 2 * attributes)  # of a chain
        seconds = -(-self.chains // self._at_once) * entries / ENTRIES
        announce(f"bayesian_fm on {ratings.nnz} ratings", needed, seconds, likely_cause(self))

    def _groups(self, ratings: csr_array, side: SideFeatures | None) -> list[csr_array]:
        """The attributes of the users or items whose ratings are the rows of a matrix: id, who rated what, features."""
        who = [_who(ratings)] if self.who else []
        return [csr_array(eye_array(ratings.shape[0])), *who, *([] if side is None else [side.matrix])]

    def _kept(self, chain: Chain) -> Iterator[Sample]:
        """Run a chain to its end, and return the samples to keep: the last at the end, the others at equal distances before."""
        first, kept = int(self.burn_in * self.epochs), self._kept_per_chain()
        keep = {first + (self.epochs - first) * place // kept for place in range(1, kept + 1)}
        for epoch in range(1, self.epochs + 1):
            chain.step(warm_up=epoch <= min(WARM_UP, first))
            if epoch in keep:
                yield Sample.of(chain)

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        user_rows, item_rows = checked_pairs(history, user_rows, item_rows)
        fitted = fitted_state(self, history)
        factors = partial(self._user_factors, fitted, history)
        return pair_products(factors, self._item_factors(fitted), user_rows, item_rows)

    def item_vectors(self) -> Floats:
        """The factors of all samples side by side, [M, samples * K]."""
        items = fitted_state(self).arrays["items"]
        return items[:, :, 1:].reshape(len(items), -1)

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        """The factors of all samples side by side, [B, samples * K]."""
        users = self._users(fitted_state(self, history), history, checked_rows(history, rows))
        return users[:, :, 1:].reshape(len(rows), -1)

    def _users(self, fitted: Fitted, history: Interactions, rows: Rows) -> Floats:
        """float32 [B, S, H]: bias and factors of users in each sample, given their history."""
        arrays = fitted.arrays
        samples, width = arrays["precision"].shape[1:]
        ratings = _ratings_for_factors(fitted, history, rows)
        side = SideFeatures.of(fitted, "user")
        attributes = [csr_array(np.ones((len(rows), 1), np.float32))]
        attributes += [_who(kept_columns(ratings, arrays["rated_items"]))] if self.who else []
        attributes += [] if side is None else [side.of_users(history, rows)]
        weights = arrays["attributes"].reshape(-1, samples * width)
        prior = np.asarray(hstack(attributes, format="csr") @ weights).reshape(-1, samples, width)
        values = (ratings.data - arrays["mean"]) / arrays["unit"]
        rounds = ROUNDS if self.noise == "user" else 0
        found = np.empty(prior.shape, np.float32)
        starts, columns = (part.astype(np.int64, copy=False) for part in (ratings.indptr, ratings.indices))
        expected_rows(
            starts, columns, values, arrays["items"], prior, arrays["precision"][0], arrays["spread"][0], rounds, found
        )
        return found

    def _user_factors(self, fitted: Fitted, history: Interactions, rows: Rows) -> Floats:
        """[B, S * K + 2]: factors in units of ratings, bias, 1; the product with `_item_factors` is the mean rating."""
        users = self._users(fitted, history, rows)
        users *= np.float32(fitted.arrays["unit"])
        bias = users[:, :, 0].mean(axis=1)
        factors = (users[:, :, 1:] / np.float32(users.shape[1])).reshape(len(rows), -1)
        return np.c_[factors, bias, np.ones(len(rows), np.float32)]

    def _item_factors(self, fitted: Fitted) -> Floats:
        """[M, S * K + 2]: factors, 1, mean + item bias."""
        items, (mean,), (unit,) = (fitted.arrays[name] for name in ("items", "mean", "unit"))
        bias = (mean + unit * items[:, :, 0].mean(axis=1)).astype(np.float32)
        return np.c_[items[:, :, 1:].reshape(len(items), -1), np.ones(len(items), np.float32), bias]


def _ratings_for_factors(fitted: Fitted, history: Interactions, rows: Rows) -> csr_array:
    """The ratings [B, M] from which the factors of the users at `rows` are computed, see `BayesianFM`."""
    ratings, rated = history.matrix[rows], fitted.arrays["rated_items"]
    items, users = (stored_features(fitted, f"{side}_features") for side in ("item", "user"))
    of_rated = rated[ratings.indices]
    if items is None or of_rated.all():
        return kept_entries(ratings, of_rated)
    known = np.diff(kept_entries(ratings, of_rated).indptr) > 0
    if users is not None:
        known |= has_features(users, user_features(users, history, rows))
    described = has_features(items, items.matrix)
    return kept_entries(ratings, of_rated | (described[ratings.indices] & ~known[row_of_entry(ratings)]))


def _who(ratings: csr_array) -> csr_array:
    """Which columns the rows of a matrix have, each divided by the square root of their number, float32."""
    count = np.diff(ratings.indptr)
    values = np.repeat(1 / np.sqrt(np.maximum(count, 1)), count).astype(np.float32)
    return csr_array((values, ratings.indices, ratings.indptr), shape=ratings.shape)
