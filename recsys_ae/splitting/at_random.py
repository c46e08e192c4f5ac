"""Protocols that draw at random; they split merged pairs."""

from typing import Any

import numpy as np

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.sorting import random_ranks
from recsys_ae.split import Split
from recsys_ae.splitting.parts import FOLD_IN, TEST, TRAIN, VALID, check_shares, generator, protocol, split_by_part


@protocol
def random(data: Interactions, *, test: float = 0.1, valid: float = 0.0, seed: int = 0) -> Split:
    """`test` and `valid` shares of all observations, at random."""
    check_shares(test=test, valid=valid)
    order = generator(seed).permutation(len(data))
    return _head_split(data, order, round(test * len(data)), valid, "random", {"test": test, "valid": valid, "seed": seed})


@protocol
def per_user(data: Interactions, *, test: float = 0.2, valid: float = 0.0, seed: int = 0) -> Split:
    """`test` and `valid` shares of each user's observations, rounded to the nearest; at least one stays for training."""
    check_shares(test=test, valid=valid)
    rank = random_ranks(data.matrix.indptr, generator(seed))
    count = np.diff(data.matrix.indptr)
    n_test = np.minimum(np.floor(test * count + 0.5), count - 1)
    n_held = n_test + np.minimum(np.floor(valid * count + 0.5), count - 1 - n_test)
    of_test, of_held = (np.repeat(n.astype(rank.dtype), count) for n in (n_test, n_held))
    part = np.where(rank < of_test, TEST, np.where(rank < of_held, VALID, TRAIN))
    return split_by_part(data.filter, part, "per_user", {"test": test, "valid": valid, "seed": seed})


@protocol
def k_fold(data: Interactions, *, k: int = 5, fold: int = 0, valid: float = 0.0, seed: int = 0) -> Split:
    """Fold number `fold` (from 0) of `k` random folds is the test part; `valid` is a share of all observations."""
    if not 2 <= k <= len(data) or not 0 <= fold < k:
        raise ConfigError(
            f"k_fold needs 2 <= k <= {len(data)}, the number of interactions, and 0 <= fold < k, got k={k}, fold={fold}"
        )
    check_shares(test=1 / k, valid=valid)
    folds = np.array_split(generator(seed).permutation(len(data)), k)
    order = np.concatenate([*folds[fold:], *folds[:fold]])
    return _head_split(data, order, len(folds[fold]), valid, "k_fold", {"k": k, "fold": fold, "valid": valid, "seed": seed})


@protocol
def user_holdout(data: Interactions, *, test: float = 0.1, valid: float = 0.1, fold_in: float = 0.8, seed: int = 0) -> Split:
    """Strong generalisation (Liang et al. 2018): shares of the *users* are held out of training entirely.

    The history of a held-out user is a random `fold_in` share of their observations; the rest has to be predicted. Users with
    a single observation are never held out.
    """
    check_shares(test=test, valid=valid)
    check_shares(fold_in=fold_in)
    rng = generator(seed)
    count = np.diff(data.matrix.indptr)
    able = rng.permutation(np.flatnonzero(count > 1))
    n_test, n_valid = round(test * data.n_users), round(valid * data.n_users)
    if n_test + n_valid > len(able):
        raise DataError(f"cannot hold out {n_test + n_valid} users: only {len(able)} have two interactions or more")
    role = np.full(data.n_users, TRAIN)
    role[able[:n_test]] = TEST
    role[able[n_test : n_test + n_valid]] = VALID
    rank = random_ranks(data.matrix.indptr, rng)
    known = np.clip(np.floor(fold_in * count + 0.5), 1, np.maximum(count - 1, 1)).astype(rank.dtype)
    part = np.repeat(role, count)
    part[(part != TRAIN) & (rank < np.repeat(known, count))] = FOLD_IN
    return split_by_part(data.filter, part, "user_holdout", {"test": test, "valid": valid, "fold_in": fold_in, "seed": seed})


@protocol
def cold_items(data: Interactions, *, test: float = 0.1, valid: float = 0.0, seed: int = 0) -> Split:
    """All interactions of `test` and `valid` shares of the *items* that have any, drawn at random.

    The items of a part have no history before it, so models know only their features.
    """
    return _hold_out(data, data.item_rows(), "cold_items", {"test": test, "valid": valid, "seed": seed})


@protocol
def cold_users(data: Interactions, *, test: float = 0.1, valid: float = 0.0, seed: int = 0) -> Split:
    """All interactions of `test` and `valid` shares of the *users* that have any, drawn at random.

    The users of a part have no history before it, unlike those of `user_holdout`, so models know only their features.
    """
    return _hold_out(data, data.user_rows(), "cold_users", {"test": test, "valid": valid, "seed": seed})


def _hold_out(data: Interactions, row: Rows, protocol: str, params: dict[str, Any]) -> Split:
    """A split that holds out whole users or whole items; `row` [nnz] is that of each observation."""
    test, valid = params["test"], params["valid"]
    check_shares(test=test, valid=valid)
    able = generator(params["seed"]).permutation(np.unique(row))
    n_test, n_valid = round(test * len(able)), round(valid * len(able))
    role = np.full(max(data.matrix.shape), TRAIN)
    role[able[:n_test]] = TEST
    role[able[n_test : n_test + n_valid]] = VALID
    return split_by_part(data.filter, role[row], protocol, params)


def _head_split(data: Interactions, order: Rows, n_test: int, valid: float, protocol: str, params: dict[str, Any]) -> Split:
    """The first `n_test` observations in `order` are the test part, the next ones the `valid` share."""
    part = np.full(len(data), TRAIN)
    part[order[:n_test]] = TEST
    part[order[n_test : n_test + round(valid * len(data))]] = VALID
    return split_by_part(data.filter, part, protocol, params)


def sample_per_user(data: Interactions, n: int, seed: int = 0) -> Interactions:
    """At most `n` interactions of each user, drawn at random; users and items keep their ids."""
    return data.filter(random_ranks(data.matrix.indptr, generator(seed)) < n)
