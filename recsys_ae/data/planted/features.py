"""Planted features: ratings that features explain in part, so that the best predictions for new items and users are known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.data.planted.ratings import TasteProcess, check_density, item_ids, tastes, user_ids, who_rates_what
from recsys_ae.data.planted.rounding import Floats, lowest_errors, rating_probabilities
from recsys_ae.declaration import check_seed
from recsys_ae.features import FeatureTable
from recsys_ae.ids import IdMap
from recsys_ae.interactions import Interactions
from recsys_ae.split import Split

DRAWS = 400  # of the taste of a new user, where the item is new as well


@dataclass(frozen=True, eq=False)
class FeatureProcess(TasteProcess):
    """A `TasteProcess` whose biases and factors are explained by features up to independent normal remainders.

    Attributes:
        explained_users: float64 [N, 1 + F], the expectations of `users` given their features.
        explained_items: float64 [M, 1 + F], those of `items`.
        user_rest: float64 [1 + F], standard deviations of `users - explained_users`; those of the factors are equal.
        item_rest: float64 [1 + F], those of `items - explained_items`.
    """

    explained_users: Floats
    explained_items: Floats
    user_rest: Floats
    item_rest: Floats

    def best(self, split: Split, metrics: Sequence[str]) -> dict[str, float]:
        """The expected `rmse` and `mae`, where asked for, of the best predictor of the test part.

        It knows the effect of every feature, and the biases and factors of all users and items with a rating in the history
        before the test part. Of new users and items it knows only the features. The figures are lower limits, which estimates
        from finite data approach from above. Errors are averaged over the noise of ratings, but not over the remainders of new
        users and items: these are few, so their effect on the errors varies from one data set to the next.
        """
        if split.predict == "next":  # earlier events of the part itself may reveal new items
            return {}
        known, test = split.history("test"), split.test
        new_users = np.diff(known.matrix.indptr) == 0
        new_items = np.bincount(known.item_rows(), minlength=known.n_items) == 0
        users = np.where(new_users[:, None], self.explained_users, self.users)[test.user_rows()]
        items = np.where(new_items[:, None], self.explained_items, self.items)[test.item_rows()]
        new = new_users[test.user_rows()], new_items[test.item_rows()]
        tasted = tastes(self.users[test.user_rows()], self.items[test.item_rows()])
        return lowest_errors(self.probabilities(users, items, *new), metrics, rating_probabilities(tasted, self.noise))

    def probabilities(self, users: Floats, items: Floats, new_user: NDArray[np.bool_], new_item: NDArray[np.bool_]) -> Floats:
        """The probabilities of the ratings 1 to 5 given what is known, float64 [n, 5].

        A bilinear taste with one unknown side is normal, so the remainders add to the noise: for a new item the variance
        s_b^2 + |p_u|^2 s_q^2 of b_i + p_u . q_i, and likewise for a new user. Where both sides are new, the taste of the user
        is drawn at random and the probabilities averaged.

        Args:
            users, items: float64 [n, 1 + F], the biases and factors where known, and their expectations where new.
            new_user, new_item: bool [n].
        """
        both = new_user & new_item
        variance = np.full(len(users), self.noise**2)
        variance += np.where(new_item, _variance(self.item_rest, users), 0)
        variance += np.where(new_user & ~both, _variance(self.user_rest, items), 0)
        found = rating_probabilities(tastes(users, items), np.sqrt(variance))
        if both.any():
            rng = np.random.default_rng(0)
            found[both] = 0
            for _ in range(DRAWS):
                drawn = users[both] + rng.normal(0, self.user_rest, users[both].shape)
                deviation = np.sqrt(self.noise**2 + _variance(self.item_rest, drawn))
                found[both] += rating_probabilities(tastes(drawn, items[both]), deviation) / DRAWS
        return found


def planted_features(
    users: int = 1500,
    items: int = 800,
    ratings: int = 120_000,
    *,
    factors: int = 3,
    explained: float = 0.75,
    noise: float = 0.6,
    seed: int = 0,
) -> tuple[Interactions, FeatureProcess]:
    """Ratings of 1 to 5 from tastes that features of users and items explain in part, with both feature tables.

    Users and items have a number, a category and several labels each, of which some are missing. Biases and factors are linear
    in the encoded features, plus a normal remainder; features have the share `explained` of their variance. Pairs are drawn
    by user activity (log-normal) and item popularity (Zipf-like) alone, so who rates what says nothing about tastes.

    Args:
        users, items, ratings: how many of each; at most a fifth of the pairs can have a rating.
        factors: length of p_u and q_i.
        explained: share of the variance of biases and factors, from 0 to 1.
        noise: standard deviation of the noise before rounding.

    Returns:
        The interactions, and the process, from which the lowest errors are known.
    """
    check_density(users, items, ratings)
    check_seed(seed)
    rng = np.random.default_rng(seed)
    user_table = _table(user_ids(users), "age", "occupation", "interests", rng)
    item_table = _table(item_ids(items), "year", "genre", "tags", rng)
    user_spread = np.r_[0.35, np.ones(factors)]
    item_spread = np.r_[0.45, np.full(factors, 0.75 / np.sqrt(factors))]
    rest = np.sqrt(1 - explained)
    known_users = _explained(user_table, user_spread * np.sqrt(explained), rng)
    known_items = _explained(item_table, item_spread * np.sqrt(explained), rng)
    process = FeatureProcess(
        known_users + rng.normal(0, rest * user_spread, known_users.shape),
        known_items + rng.normal(0, rest * item_spread, known_items.shape),
        noise,
        known_users,
        known_items,
        rest * user_spread,
        rest * item_spread,
    )
    data = process.draw(who_rates_what(process, ratings, rng, by_taste=False), rng)
    return replace(data, user_features=user_table, item_features=item_table), process


def _table(ids: IdMap, number: str, category: str, labels: str, rng: np.random.Generator) -> FeatureTable:
    """A number, a category of 8 and up to 3 of 12 labels for each id; one in twenty numbers and categories is missing."""
    count = len(ids)
    numbers = np.where(rng.random(count) < 0.05, np.nan, np.rint(rng.normal(50, 15, count)))
    categories = np.array([f"{category}-{letter}" for letter in "abcdefgh"], dtype=object)[rng.integers(0, 8, count)]
    categories[rng.random(count) < 0.05] = None
    chosen = rng.permuted(np.tile(np.arange(12), (count, 1)), axis=1)
    lists = [[f"{labels}-{label}" for label in row[:size]] for row, size in zip(chosen, rng.integers(0, 4, count), strict=True)]
    frame = pd.DataFrame({"id": ids.values, number: numbers, category: categories, labels: pd.Series(lists, dtype=object)})
    return FeatureTable.from_frame(frame, {number: "numeric", category: "category", labels: "multi_label"}, ids=ids)


def _explained(table: FeatureTable, spread: Floats, rng: np.random.Generator) -> Floats:
    """Random linear functions of the encoded features, float64 [n, 1 + F], with mean 0 and deviations `spread` [1 + F]."""
    values = table.matrix @ rng.normal(size=(table.matrix.shape[1], len(spread)))
    return np.asarray((values - values.mean(axis=0)) / values.std(axis=0) * spread)


def _variance(rest: Floats, others: Floats) -> Floats:
    """Variance of b + p . q, float64 [n], of remainders (b, p) with standard deviations `rest` and known q in `others`."""
    return np.asarray(rest[0] ** 2 + np.square(others[:, 1:]) @ np.square(rest[1:]))
