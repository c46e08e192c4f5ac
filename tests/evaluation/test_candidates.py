"""Sampled candidates: what is drawn, how they are kept, and the evaluation among them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import random_interactions

from recsys_ae import ItemKNN, Popularity, evaluate
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.candidates import Candidates
from recsys_ae.ids import IdMap
from recsys_ae.interactions import ones
from recsys_ae.splitting import per_user


@pytest.fixture(scope="module")
def split():
    return per_user(random_interactions(3, n_users=60, n_items=45, share=0.2), test=0.3, valid=0.1, seed=1)


@pytest.mark.parametrize("n", [1, 5, 20, 44])
def test_candidates_are_different_items_that_the_user_never_had(split, n):
    drawn = Candidates.sample(split, "test", n, seed=4).matrix.toarray()
    had = ones(split.everything.matrix).toarray() > 0
    asked = np.diff(split.test.matrix.indptr) > 0
    assert not (drawn & had).any()
    np.testing.assert_array_equal(drawn.sum(axis=1), np.where(asked, np.minimum(n, 45 - had.sum(axis=1)), 0))


def test_more_candidates_than_there_are_items_is_a_warning(split, caplog):
    Candidates.sample(split, "test", 44)
    assert "no user has 44 items to sample" in caplog.text
    caplog.clear()
    Candidates.sample(split, "test", 20)
    assert not caplog.text


def test_every_item_is_equally_likely(split):
    n, repetitions = 4, 400
    total = sum(Candidates.sample(split, "test", n, seed=seed).matrix.astype(int).toarray() for seed in range(repetitions))
    asked = np.flatnonzero(np.diff(split.test.matrix.indptr))
    for user in asked[:10]:
        others = ones(split.everything.matrix)[[user]].toarray()[0] == 0
        expected = repetitions * n / others.sum()
        assert (np.abs(total[user][others] - expected) < 5 * np.sqrt(expected)).all()


def test_the_seed_decides(split):
    first, again, other = (Candidates.sample(split, "test", 7, seed=seed) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest


def test_a_file_holds_all_there_is(split, tmp_path):
    drawn = Candidates.sample(split, "test", 7)
    drawn.write(tmp_path / "candidates.parquet")
    assert Candidates.read(tmp_path / "candidates.parquet", drawn.users, drawn.items).digest == drawn.digest
    fewer = IdMap(drawn.users.values[5:])
    np.testing.assert_array_equal(
        Candidates.read(tmp_path / "candidates.parquet", fewer, drawn.items).matrix.toarray(), drawn.matrix.toarray()[5:]
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": ["u1"]}, "the columns user_id and item_id, but item_id is missing"),
        ({"user_id": ["u1"], "item_id": ["i77"]}, "candidate 'i77' is not an item of the data"),
        ({"user_id": ["u1", "u1"], "item_id": ["i1", "i1"]}, "given twice for one user"),
    ],
)
def test_other_files_are_errors(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "candidates.parquet")
    with pytest.raises(DataError, match=message):
        Candidates.read(tmp_path / "candidates.parquet", IdMap(["u1"]), IdMap(["i1", "i2"]))


def test_candidates_of_another_split_are_refused(split):
    other = per_user(random_interactions(3, n_users=60, n_items=46, share=0.2), test=0.3, valid=0.1, seed=1)
    with pytest.raises(DataError, match="the candidates have other users or items than the split; sample them from it"):
        evaluate(Popularity().fit(split.train), split, "ndcg@5", candidates=Candidates.sample(other, "test", 5))


def test_ranks_are_among_relevant_items_and_candidates(split):
    """Against a loop over users that ranks with plain sorting."""
    candidates = Candidates.sample(split, "test", 6, seed=2)
    model = ItemKNN(neighbours=10).fit(split.train)
    report = evaluate(model, split, ["recall@3", "hit_rate@3"], candidates=candidates)
    assert list(report.metrics) == ["sampled_recall@3", "sampled_hit_rate@3"]
    history, expected = split.history("test"), []
    for user in split.test.users.rows(report.users):
        relevant = set(split.test.matrix[[user]].indices)
        among = sorted(relevant | set(candidates.matrix[[user]].indices))
        scores = model.scores(history, np.array([user]))[0]
        top = sorted(among, key=lambda item: (-scores[item], item))[:3]
        expected.append(len(relevant & set(top)) / len(relevant))
    np.testing.assert_allclose(report.per_user["sampled_recall@3"], expected)


def test_sampled_values_are_higher_than_those_of_full_ranking(split):
    model, candidates = Popularity().fit(split.train), Candidates.sample(split, "test", 5)
    sampled = evaluate(model, split, "ndcg@5", candidates=candidates).metrics["sampled_ndcg@5"]
    assert sampled > 1.2 * evaluate(model, split, "ndcg@5").metrics["ndcg@5"]


def test_a_sampled_metric_needs_candidates(split):
    with pytest.raises(ConfigError, match="sampled_ndcg@5 needs sampled candidates; give them, or use ndcg@5"):
        evaluate(Popularity().fit(split.train), split, "sampled_ndcg@5")
