import numpy as np
import pytest
from builders import from_dense, random_interactions
from hypothesis import given, settings, strategies as st

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.splitting import SPLITS, k_fold, leave_last, per_user, random, time_cut, user_holdout

OPTIONS = {"random": {"valid": 0.1}, "per_user": {"valid": 0.1}, "leave_last": {"valid": 1}, "time_cut": {"valid": 0.1}}


@pytest.mark.parametrize("name", SPLITS)
@settings(max_examples=15)
@given(seed=st.integers(0, 50))
def test_parts_are_the_whole_each_once(name, seed):
    data = random_interactions(seed)
    split = SPLITS.get(name)(data, **OPTIONS.get(name, {}))
    parts = [split.train, split.valid, split.test] + ([split.fold_in] if split.fold_in else [])
    whole = parts[0]
    for part in parts[1:]:
        assert part.matrix.shape == data.matrix.shape
        assert part.users is data.users
        whole = whole.union(part)
    assert whole.digest == data.digest
    assert len(split.test) > 0
    assert split.protocol == name


@pytest.mark.parametrize("name", ["random", "per_user", "k_fold", "user_holdout"])
def test_seed_decides(name):
    data, split = random_interactions(), SPLITS.get(name)
    assert split(data, seed=1).digest == split(data, seed=1).digest
    assert split(data, seed=1).digest != split(data, seed=2).digest


def test_random_takes_the_asked_share():
    split = random(random_interactions(), test=0.2, valid=0.1)
    total = len(split.train) + len(split.valid) + len(split.test)
    assert len(split.test) == round(0.2 * total)
    assert len(split.valid) == round(0.1 * total)


def test_per_user_takes_a_share_of_each_and_leaves_one():
    data = random_interactions()
    split = per_user(data, test=0.5)
    counts, tested = np.diff(data.matrix.indptr), np.diff(split.test.matrix.indptr)
    np.testing.assert_array_equal(tested, np.minimum(np.floor(0.5 * counts + 0.5), counts - 1))
    assert (np.diff(split.train.matrix.indptr) >= 1).all()


def test_leave_last_takes_the_latest():
    data = random_interactions()
    split = leave_last(data, test=2, valid=1)
    for user in range(data.n_users):
        start, end = split.train.matrix.indptr[user : user + 2]
        rest = [part.times[slice(*part.matrix.indptr[user : user + 2])] for part in (split.valid, split.test)]
        if len(rest[1]):
            assert [len(times) for times in rest] == [1, 2]
            assert split.train.times[start:end].max() <= rest[0].min() <= rest[0].max() <= rest[1].min()
        else:
            assert end - start <= 3


def test_time_cut_keeps_the_future_out():
    split = time_cut(random_interactions(), test=0.3, valid=0.2)
    assert split.train.times.max() < split.valid.times.min()
    assert split.valid.times.max() < split.test.times.min()
    assert split.test.times.min() == split.params["at"]


def test_time_cut_at_a_moment():
    split = time_cut(random_interactions(), at=25)
    assert split.test.times.min() >= 25 > split.train.times.max()


def test_folds_cover_everything_once():
    data = random_interactions()
    tested = sum(k_fold(data, k=3, fold=fold).test.matrix.toarray() != 0 for fold in range(3))
    np.testing.assert_array_equal(tested, data.matrix.toarray() != 0)
    sizes = [len(k_fold(data, k=3, fold=fold).test) for fold in range(3)]
    assert sum(sizes) == len(data)


def test_held_out_users_are_absent_from_training():
    data = random_interactions()
    split = user_holdout(data, test=0.2, valid=0.1, fold_in=0.8)
    counts = {name: np.diff(part.matrix.indptr) for name, part in vars(split).items() if hasattr(part, "matrix")}
    tested, validated = counts["test"] > 0, counts["valid"] > 0
    assert tested.sum() == 8
    assert validated.sum() == 4
    held = tested | validated
    assert (counts["train"][held] == 0).all()
    assert (counts["fold_in"][held] >= 1).all()
    assert (counts["fold_in"][~held] == 0).all()
    np.testing.assert_array_equal(
        counts["fold_in"] + counts["test"] + counts["valid"] + counts["train"], np.diff(data.matrix.indptr)
    )
    assert len(split.history("valid")) == len(split.train) + len(split.fold_in)


@pytest.mark.parametrize("split", [leave_last, time_cut])
def test_protocols_over_time_need_times(split):
    with pytest.raises(ConfigError, match="needs times"):
        split(random_interactions(times=False))


@pytest.mark.parametrize(
    ("split", "params"),
    [
        (random, {"test": 1.0}),
        (random, {"test": 0.6, "valid": 0.5}),
        (per_user, {"test": -0.1}),
        (k_fold, {"k": 5, "fold": 5}),
        (leave_last, {"test": 0}),
        (user_holdout, {"fold_in": 1.2}),
    ],
)
def test_impossible_parameters(split, params):
    with pytest.raises(ConfigError):
        split(random_interactions(), **params)


def test_too_few_users_to_hold_out():
    with pytest.raises(DataError, match="only 0 have two"):
        user_holdout(from_dense(np.ones((5, 3)), np.arange(3) == np.zeros((5, 1))), test=0.4)
