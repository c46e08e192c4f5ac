import numpy as np
import pandas as pd
import pytest
from builders import from_dense, random_interactions
from hypothesis import given, settings, strategies as st

from recsys_ae import Interactions
from recsys_ae.declaration import validate_params
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.splitting import SPLITS, cold_items, cold_users, k_fold, leave_last, per_user, random, time_cut, user_holdout
from recsys_ae.strict_yaml import parse_yaml

OPTIONS = {"random": {"valid": 0.1}, "per_user": {"valid": 0.1}, "leave_last": {"valid": 1}, "time_cut": {"valid": 0.1}}
OPTIONS["rolling_window"] = {"windows": 3, "window": 2, "valid": 0.1}  # the last one, after which nothing is left out


@pytest.mark.parametrize("name", SPLITS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 50))
def test_parts_are_disjoint_and_complete(name, seed):
    data = random_interactions(seed)
    data = data.with_sessions(1e-8) if name == "last_session" else data
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


@pytest.mark.parametrize("name", SPLITS)
def test_only_a_user_holdout_validates_by_default(name):
    data = random_interactions()
    split = SPLITS.get(name)(data.with_sessions(1e-8) if name == "last_session" else data)
    assert (len(split.valid) > 0) == (name == "user_holdout")


@pytest.mark.parametrize("name", ["random", "per_user", "k_fold", "user_holdout", "cold_items", "cold_users"])
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


def test_a_cut_after_the_last_event_leaves_an_empty_test_part():
    data = random_interactions()
    split = time_cut(data, at="2100-01-01", valid=0.0001)
    assert (len(split.train), len(split.valid), len(split.test)) == (len(data), 0, 0)


def test_time_cut_keeps_the_future_out():
    split = time_cut(random_interactions(), test=0.3, valid=0.2)
    assert split.train.times.max() < split.valid.times.min()
    assert split.valid.times.max() < split.test.times.min()
    assert str(np.datetime64(int(split.test.times.min()), "us")) == split.params["at"]
    again = time_cut(random_interactions(), valid=0.2, at=split.params["at"])
    assert again.digest == split.digest


@pytest.mark.parametrize("at", [25e-6, "1970-01-01T00:00:00.000025Z"])
def test_time_cut_at_a_moment(at):
    split = time_cut(random_interactions(), at=at)
    assert split.test.times.min() >= 25 > split.train.times.max()


def log_of_clicks(rng, n_users: int, n_items: int, n_events: int, repeats: float) -> pd.DataFrame:
    """Clicks in file order, of which a share repeats an earlier click of the same user; some times are equal."""
    frame = pd.DataFrame(
        {
            "user_id": rng.integers(0, n_users, n_events),
            "item_id": (n_items * rng.random(n_events) ** 2).astype(int),
            "rating": rng.integers(1, 4, n_events).astype(np.float32),
            "time": np.sort(rng.integers(0, n_events // 2, n_events)),
        }
    )
    earlier = (rng.random(n_events) * np.arange(n_events)).astype(int)
    repeated = rng.random(n_events) < repeats
    frame.loc[repeated, ["user_id", "item_id"]] = frame.loc[earlier[repeated], ["user_id", "item_id"]].to_numpy()
    return frame


def cut_by_hand(frame: pd.DataFrame, test: float, valid: float) -> list[pd.DataFrame]:
    times = np.sort(frame["time"].to_numpy())
    start = times[len(times) - round(test * len(times))]
    valid_start = times[(times < start).sum() - round(valid * len(times))] if valid else start
    before = frame["time"] < valid_start
    return [frame[before], frame[~before & (frame["time"] < start)], frame[frame["time"] >= start]]


def last_by_hand(frame: pd.DataFrame, test: int, valid: int) -> list[pd.DataFrame]:
    later = frame.sort_values("time", kind="stable").groupby("user_id").cumcount(ascending=False).reindex(frame.index)
    enough = frame.groupby("user_id")["item_id"].transform("size") > test + valid
    tested, validated = enough & (later < test), enough & (later >= test) & (later < test + valid)
    return [frame[~tested & ~validated], frame[validated], frame[tested]]


def agrees_with_pandas(frame: pd.DataFrame, policy: str) -> None:
    data = Interactions.from_frame(frame, time="time", duplicates=policy)
    cases = [
        (lambda: time_cut(data, test=0.2, valid=0.1), cut_by_hand(frame, 0.2, 0.1)),
        (lambda: leave_last(data, test=2, valid=1), last_by_hand(frame, 2, 1)),
    ]
    for protocol, (train, *rest) in cases:
        if not len(train):
            with pytest.raises(DataError, match="has an empty training part"):
                protocol()
            continue
        split = protocol()
        for part, by_hand in zip((split.train, split.valid, split.test), (train, *rest), strict=True):
            assert part.n_events == len(by_hand)
            if len(by_hand):
                known = {"users": data.users, "items": data.items, "time": "time", "duplicates": policy}
                assert part.digest == Interactions.from_frame(by_hand, **known).digest
            how = {"error": "last"}.get(policy, policy)
            merged = by_hand.sort_values("time", kind="stable").groupby(["user_id", "item_id"])["rating"].agg(how)
            found = part.to_frame().set_index(["user_id", "item_id"])["rating"]
            pd.testing.assert_series_equal(found, merged, check_dtype=False, check_index_type=False, rtol=1e-6)
        assert split.everything.digest == data.digest


CLICKS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 8)), min_size=3, max_size=40)


@settings(deadline=None)
@given(rows=CLICKS, policy=st.sampled_from(["last", "mean", "max", "sum"]))
def test_splitting_by_time_and_merging_is_what_pandas_does_by_hand(rows, policy):
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time"])
    agrees_with_pandas(frame.assign(rating=np.arange(len(rows), dtype=np.float32)), policy)


@settings(deadline=None)
@given(rows=CLICKS, test=st.sampled_from([0.1, 0.3, 0.6]), valid=st.sampled_from([0.0, 0.3]))
def test_no_event_of_the_test_part_is_earlier_than_one_of_the_training_part(rows, test, valid):
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time"])
    data = Interactions.from_frame(frame, rating=None, time="time", duplicates="sum")
    if round(test * len(rows)) and frame["time"].nunique() > 3:
        try:
            split = time_cut(data, test=test, valid=valid)
        except DataError:
            return  # all events before the cut are of one moment
        known = [part.log.times.max() for part in (split.train, split.valid) if len(part)]
        assert max(known) < split.test.log.times.min()
        if len(split.valid):
            assert split.train.log.times.max() < split.valid.log.times.min()


def test_clicks_with_repeats(rng):
    agrees_with_pandas(log_of_clicks(rng, 200, 60, 8_000, repeats=0.3), "sum")


def test_a_pair_that_occurs_again_stays_in_training():
    frame = pd.DataFrame({"user_id": 1, "item_id": ["a", "b", "a", "c"], "rating": [5, 4, 1, 3], "time": [1, 2, 3, 4]})
    data = Interactions.from_frame(frame, time="time", duplicates="sum")
    split = time_cut(data, at=3)
    assert split.train.to_frame()["rating"].tolist() == [5, 4]
    assert split.test.to_frame()["rating"].tolist() == [1, 3]
    assert split.test.shared_with(split.train).tolist() == [True, False]
    assert split.everything.to_frame()["rating"].tolist() == [6, 4, 3]


def test_last_of_equal_times_is_the_last_in_the_file():
    frame = pd.DataFrame({"user_id": [1, 1, 1, 2, 2], "item_id": [9, 7, 8, 9, 1], "time": 5})
    split = leave_last(Interactions.from_frame(frame, rating=None, time="time"), test=1, valid=1)
    assert split.test.to_frame()["item_id"].tolist() == [8]
    assert split.valid.to_frame()["item_id"].tolist() == [7]


def test_a_date_in_a_pipeline_needs_no_quotes():
    declared = parse_yaml("{at: 2014-04-07, repeats: wanted}", "here")
    assert validate_params(time_cut, declared, "here")["at"] == "2014-04-07"
    with pytest.raises(ConfigError, match=r"time_cut: at: expected a time as ISO 8601 text, .*, got 'soon'"):
        time_cut(random_interactions(), at="soon")
    with pytest.raises(ConfigError, match=r"here: at: expected a time .* seconds since 1970, got '31\.12\.2024'"):
        validate_params(time_cut, {"at": "31.12.2024"}, "here")


@pytest.mark.parametrize("split", [leave_last, time_cut])
def test_repeats_are_declared_by_protocols_over_time(split):
    data = random_interactions()
    assert split(data).repeats == "excluded"
    assert split(data, repeats="wanted").repeats == "wanted"
    with pytest.raises(ConfigError, match="repeats: expected 'excluded' or 'wanted', got 'yes'"):
        split(data, repeats="yes")


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


@pytest.mark.parametrize(("split", "axis", "held"), [(cold_items, 1, (4, 2)), (cold_users, 0, (8, 4))])
def test_cold_ids_have_no_history(split, axis, held):
    """20 % and 10 % of the 20 items or 38 users with ratings; those without any are never drawn."""
    data = random_interactions(n_users=39, n_items=21)
    data = data.filter((data.user_rows() != 7) & (data.item_rows() != 3))
    parts = split(data, test=0.2, valid=0.1, seed=5)
    own = [(data.user_rows(), data.item_rows())[axis] for data in (parts.train, parts.valid, parts.test)]
    assert tuple(len(set(rows)) for rows in reversed(own[1:])) == held
    assert not set(own[0]) & (set(own[1]) | set(own[2]))
    assert not set(own[1]) & set(own[2])
    counts = [np.bincount((part.user_rows(), part.item_rows())[axis], minlength=39) for part in (parts.test, parts.everything)]
    np.testing.assert_array_equal(counts[0][list(set(own[2]))], counts[1][list(set(own[2]))])


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
        (cold_items, {"test": 0.6, "valid": 0.5}),
    ],
)
def test_impossible_parameters(split, params):
    with pytest.raises(ConfigError):
        split(random_interactions(), **params)


def test_too_few_users_to_hold_out():
    with pytest.raises(DataError, match="only 0 have two"):
        user_holdout(from_dense(np.ones((5, 3)), np.arange(3) == np.zeros((5, 1))), test=0.4)
