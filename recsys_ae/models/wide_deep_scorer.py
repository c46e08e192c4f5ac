"""Scores of a fitted wide and deep network, also for new users."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from recsys_ae.core.sparse import unit_pattern
from recsys_ae.core.wide_deep import WideDeepNetwork, crossed_terms, kept_ids
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import training
from recsys_ae.models.base import Floats
from recsys_ae.models.factors import pair_batches, ridge, trained_rows
from recsys_ae.models.side_information import has_features, stored_features, user_features

BLOCK_UNITS = 2**22  # hidden units computed at a time
STEPS = 3  # of Gauss-Newton, of which one is enough without hidden layers and with the squared error


@dataclass(frozen=True)
class Users:
    """Users as the network sees them: vectors [B, 1 + K], and the weights of the features of items in their crosses [B, G]."""

    codes: Tensor
    crossed: Tensor | None


class WideDeepScorer:
    """A fitted network that scores users: by their features and whom they rated, and by a vector of their own.

    That of a user with training data is learned; for others it is fitted to their history, see `fold_in`.
    """

    def __init__(self, network: WideDeepNetwork, fitted: Fitted, l2: float) -> None:
        self.network, self.fitted, self.l2 = network, fitted, l2
        self.user_table, self.item_table = (stored_features(fitted, f"{side}_features") for side in ("user", "item"))
        self.items = network.coded(torch.from_numpy(fitted.arrays["item_codes"]), "columns")
        self.mean, self.unit = (np.float32(fitted.arrays[name][0]) for name in ("mean", "unit"))

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        known = np.diff(history.matrix.indptr)[rows] > 0
        if self.user_table is None:
            return known
        return known | has_features(self.user_table, user_features(self.user_table, history, rows))

    @torch.no_grad()
    def users(self, history: Interactions, rows: Rows) -> Users:
        trained = torch.from_numpy(trained_rows(self.fitted, history, rows))
        ids = kept_ids(trained.clamp(min=0), trained >= 0, len(self.network.rows.of_ids))
        ratings = history.matrix[rows]
        who = unit_pattern(training.sparse_rows(ratings)) if self.network.rows.of_who is not None else None
        features = crossed = None
        if self.user_table is not None:
            features = training.sparse_rows(user_features(self.user_table, history, rows))
            crossed = None if self.item_table is None else self.network.crossed(features)
        users = Users(torch.stack(self.network.rows(ids, who, features)).sum(0), crossed)
        new = (trained < 0).numpy() & (np.diff(ratings.indptr) > 0)
        self.fold_in(users, ratings, np.flatnonzero(new))
        return users

    def fold_in(self, users: Users, ratings: csr_array, new: Rows) -> None:
        """Add vectors v [1 + K] of their own to the users at `new`, given the ratings of all [B, M].

        They minimise the squared error of the user's n ratings plus n * l2 * |v|^2, as in training, with all other parameters
        fixed, by Gauss-Newton steps. (With other losses than the squared error, that of the expected ratings.)
        """
        for user in new:
            own = ratings[[user]]
            at, item = torch.full((own.nnz,), user), own.indices.astype(np.int64)
            target, vector = (own.data - self.mean) / self.unit, np.zeros(users.codes.shape[1], np.float32)
            start = users.codes[user].clone()
            for _ in range(STEPS):
                with torch.enable_grad():
                    codes = (start + torch.from_numpy(vector)).repeat(own.nnz, 1).requires_grad_()
                    expected = self.expected(codes, users.crossed, at, item)
                    (slopes,) = torch.autograd.grad(expected.sum(), codes)
                slope = slopes.numpy()
                left = target - expected.detach().numpy() + slope @ vector
                vector = ridge(slope, left, self.l2 * len(item)).astype(np.float32)
            users.codes[user] = start + torch.from_numpy(vector)

    @torch.no_grad()
    def scores(self, history: Interactions, rows: Rows) -> Floats:
        """[B, M]"""
        items, found = self.items, [np.zeros((0, len(self.items.wide)), np.float32)]
        step = max(1, BLOCK_UNITS // max(items.first.numel(), len(items.wide)))
        for start in range(0, len(rows), step):
            users = self.users(history, rows[start : start + step])
            coded = self.network.coded(users.codes, "rows")
            score = coded.wide[:, None] + items.wide + coded.factors @ items.factors.T
            if users.crossed is not None and self.item_table is not None:
                score += torch.from_numpy((self.item_table.matrix @ users.crossed.numpy().T).T)
            expected = self.network.expected(self.network(score, coded.first[:, None] + items.first))
            found.append(self.mean + self.unit * expected.numpy())
        return np.concatenate(found)

    @torch.no_grad()
    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        """float32 [n]"""
        result = np.empty(len(user_rows), np.float32)
        for users, pairs, place in pair_batches(user_rows, partial(self.users, history)):
            user = torch.from_numpy(place)
            expected = self.expected(users.codes[user], users.crossed, user, item_rows[pairs])
            result[pairs] = self.mean + self.unit * expected.numpy()
        return result

    def expected(self, codes: Tensor, crossed: Tensor | None, user: Tensor, item: Rows) -> Tensor:
        """Expected values [n] of pairs, given the users' codes [n, 1 + K], and what is `crossed` by their numbers `user`."""
        coded, at = self.network.coded(codes, "rows"), torch.from_numpy(item)
        score = coded.wide + self.items.wide[at] + (coded.factors * self.items.factors[at]).sum(1)
        if crossed is not None and self.item_table is not None:
            score = score + crossed_terms(crossed, user, training.sparse_rows(self.item_table.matrix[item]))
        return self.network.expected(self.network(score, coded.first + self.items.first[at]))
