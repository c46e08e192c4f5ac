"""Planted ratings: made by a known rule, so that the lowest error any model can reach is known too."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from recsys_ae.errors import DataError
from recsys_ae.interactions import IdMap, Interactions

SCALE = (1.0, 5.0)
Taste = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


def planted_ratings(
    users: int, items: int, ratings: int, *, factors: int = 6, noise: float = 0.6, seed: int = 0
) -> tuple[Interactions, Callable[[Interactions], float]]:
    """Ratings of 1 to 5 from latent tastes, biases and a long-tailed popularity.

    The taste of user u for item i is s = 3.5 + b_u + b_i + p_u . q_i; the rating is s plus normal noise, rounded to the
    nearest whole number in 1..5. Who rates what is drawn by item popularity (Zipf-like) and user activity
    (log-normal), and people mostly rate what they like: a pair is taken with probability sigmoid(2 (s - 3.5)). Users are
    called "u0001", ..., items 1001, ....

    Args:
        users, items, ratings: how many of each; `ratings` must leave room (at most a fifth of the pairs).
        factors: length of p_u and q_i.
        noise: standard deviation of the noise before rounding.

    Returns:
        The interactions, and the noise floor: a function that gives for any of these interactions the lowest root mean
        squared error a predictor can be expected to have on them. It is the square root of the mean variance of a
        rating given its taste, which follows from the normal distribution.
    """
    if ratings > users * items // 5:
        raise DataError(f"{ratings} planted ratings do not fit {users} users x {items} items; at most a fifth of the pairs")
    rng = np.random.default_rng(seed)
    spread = 0.75 / np.sqrt(factors)
    user_factors = rng.normal(0, 1, (users, factors))
    item_factors = rng.normal(0, spread, (items, factors))
    user_bias, item_bias = rng.normal(0, 0.35, users), rng.normal(0, 0.45, items)

    def taste(user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
        dots = np.einsum("nf,nf->n", user_factors[user], item_factors[item])
        return np.asarray(3.5 + user_bias[user] + item_bias[item] + dots)

    def noise_floor(part: Interactions) -> float:
        return float(np.sqrt(np.mean(_rating_variance(taste(part.user_rows(), part.item_rows()), noise))))

    user, item = _who_rates_what(users, items, ratings, taste, rng)
    rating = np.clip(np.rint(taste(user, item) + rng.normal(0, noise, ratings)), *SCALE).astype(np.float32)
    width = len(str(users))
    user_ids = IdMap([f"u{number:0{width}d}" for number in range(1, users + 1)])
    item_ids = IdMap(np.arange(1001, 1001 + items))
    times = 1_600_000_000 + np.sort(rng.integers(0, 3 * 365 * 86_400, ratings))
    return Interactions.from_rows(user, item, rating, user_ids, item_ids, times=times, scale=SCALE), noise_floor


def _who_rates_what(
    users: int, items: int, ratings: int, taste: Taste, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`ratings` distinct (user, item) pairs in random order."""
    activity = rng.lognormal(0, 0.7, users)
    popularity = 1 / (10 + rng.permutation(items)) ** 0.8
    pairs = np.empty(0, np.int64)
    while len(pairs) < ratings:
        need = 2 * (ratings - len(pairs)) + 16
        user = rng.choice(users, need, p=activity / activity.sum())
        item = rng.choice(items, need, p=popularity / popularity.sum())
        liked = rng.random(need) < expit(2 * (taste(user, item) - 3.5))
        pairs = np.unique(np.r_[pairs, (user * items + item)[liked]])
    pairs = rng.permutation(pairs)[:ratings]
    return pairs // items, pairs % items


def _rating_variance(taste: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Var[rating | taste] where rating = clip(round(taste + noise * N(0, 1)), 1, 5)."""
    values = np.arange(SCALE[0], SCALE[1] + 1)
    upper = norm.cdf((values[:-1] + 0.5 - taste[:, None]) / noise)  # [n, 4]: P(rating <= 1..4)
    probability = np.diff(upper, axis=1, prepend=0.0, append=1.0)  # [n, 5]
    mean = probability @ values
    return np.asarray(probability @ values**2 - mean**2)
