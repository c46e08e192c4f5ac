"""Comparisons of tables with planted values per user."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.metrics import parse_metrics
from recsys_ae.evaluation.per_user import PerUser
from recsys_ae.evaluation.protocols.protocol import Protocol
from recsys_ae.evaluation.uncertainty.findings import analyse
from recsys_ae.experiment.comparison import compare_models
from recsys_ae.experiment.contenders import Contender, contenders
from recsys_ae.reporting.comparison import lines, markdown

PROTOCOL = Protocol("0" * 32, "1" * 32)
N = 300


def planted(shift: float, noise: float, seed: int = 0, **more: object) -> pd.DataFrame:
    """NDCG and recall of users who are the same for all models but for a shift and noise, with segments of users and items."""
    users, own = np.random.default_rng(99), np.random.default_rng(seed)
    base = users.uniform(0.2, 0.7, N)
    ndcg = base + shift + noise * own.normal(size=N)
    groups = pd.Categorical(np.where(np.arange(N) % 3 == 0, "short", "long"), ["short", "long"])
    head = np.where(np.arange(N) % 4 == 0, np.nan, ndcg / 2)
    table = {"user_id": [f"u{number:03d}" for number in range(N)], "ndcg@5": ndcg, "recall@9": 1 - ndcg}
    items = {"ndcg@5|popularity=head": head, "ndcg@5|popularity=tail": 1 - base, "segment:length": groups}
    return pd.DataFrame({**table, **items, **more})


def of(protocol: Protocol | None = PROTOCOL, **tables: pd.DataFrame | list[pd.DataFrame]) -> dict[str, Contender]:
    return {
        name: Contender(name, name, None, [PerUser(one, protocol) for one in (own if isinstance(own, list) else [own])])
        for name, own in tables.items()
    }


THREE = {"good": planted(0.05, 0.02, 1), "equal": planted(0.05, 0.02, 2), "bad": planted(-0.02, 0.02, 3)}


def test_planted_differences_are_found_and_no_others():
    found = compare_models(of(**THREE))
    assert (found.metric, found.models, found.seeds) == ("ndcg@5", ["good", "equal", "bad"], None)
    (findings,) = [one.findings for one in found.findings if one.metric == "ndcg@5"]
    assert [{*letters} for letters in findings.letters] == [{"a"}, {"a"}, {"b"}]
    assert {*findings.best} == {0, 1}
    means = [own["ndcg@5"].mean() for own in THREE.values()]
    good, equal, bad = means
    assert [pair.difference for pair in findings.pairs] == pytest.approx([good - equal, good - bad, equal - bad])
    assert [pair.different for pair in findings.pairs] == [False, True, True]
    text = markdown(found)
    assert f"| good | **{means[0]:.4f}" in text
    assert f"| **good - bad** | **{means[0] - means[2]:+.4f}**" in text
    assert "Holm's correction over 3 pairs" in text
    assert "test would show with power 80 %" in text
    powers = [replace(one, findings=replace(one.findings, power=0.7)) for one in found.findings]
    assert "test would show with power 70 %" in markdown(replace(found, findings=powers))
    assert f"protocol {PROTOCOL.digest[:12]}" in text


def test_the_order_of_users_is_theirs():
    shuffled = THREE["bad"].sample(frac=1, random_state=1)
    assert compare_models(of(**{**THREE, "bad": shuffled})) == compare_models(of(**THREE))


def test_groups_of_users_and_items_are_compared_by_themselves():
    found = compare_models(of(**THREE), by="length")
    assert list(found.groups) == ["short", "long"]
    for group, findings in found.groups.items():
        alone = {name: [own[own["segment:length"] == group]] for name, own in THREE.items()}
        assert findings == analyse(alone, parse_metrics(["ndcg@5", "recall@9"]))
    assert "ndcg@5 by length" in markdown(found)
    assert "| model | short (100 users) | long (200 users) |" in markdown(found)
    items = compare_models(of(**THREE), by="popularity")
    assert [(group, own[0].metric, own[0].findings.n_users) for group, own in items.groups.items()] == [
        ("head", "ndcg@5", 225),
        ("tail", "ndcg@5", 300),
    ]
    assert items.groups["head"][0].findings.metrics == pytest.approx(
        [own["ndcg@5|popularity=head"].mean() for own in THREE.values()]
    )
    with pytest.raises(ConfigError, match="recall@9 has no values by popularity; choose another --metric"):
        compare_models(of(**THREE), "recall@9", by="popularity")
    other = {**THREE, "bad": THREE["bad"].assign(**{"segment:length": THREE["bad"]["segment:length"].to_numpy()[::-1]})}
    with pytest.raises(DataError, match="users in different groups of length"):
        compare_models(of(**other), by="length")
    with pytest.raises(ConfigError, match="good has no values by 'lenght'; did you mean 'length'"):
        compare_models(of(**THREE), by="lenght")
    with pytest.raises(ConfigError, match="good has no values by 'length'; it was evaluated without segments"):
        compare_models(of(good=THREE["good"][["user_id", "ndcg@5"]], bad=THREE["bad"]), by="length")


def test_unlike_protocols_are_refused():
    for changes, words in (
        ({"test": "2" * 32}, "the test part"),
        ({"history": None, "relevant_at": 4.0}, "what was known before, relevant_at"),
        ({"repeats": "wanted", "candidates": "3" * 32}, "repeats, the sampled candidates"),
    ):
        both = of(a=THREE["good"], b=THREE["bad"]) | of(replace(PROTOCOL, **changes), c=THREE["equal"])
        with pytest.raises(ConfigError, match=rf"a and c were evaluated in different ways \({words}\); evaluate them alike"):
            compare_models(both)


def test_an_unknown_protocol_is_named():
    found = compare_models(of(None, other=THREE["bad"]) | of(a=THREE["good"]))
    assert (found.unknown, found.protocols) == (["other"], [])
    assert "warning: the protocol of other is unknown" in "\n".join(lines(found))
    differing = of(None, other=THREE["bad"]) | of(a=THREE["good"]) | of(replace(PROTOCOL, relevant_at=4.0), b=THREE["equal"])
    with pytest.raises(ConfigError, match="a and b were evaluated in different ways"):
        compare_models(differing)


def test_users_who_count_for_some_models_only():
    fewer = of(**{**THREE, "bad": THREE["bad"].iloc[20:]})
    with pytest.raises(ConfigError, match="users in ndcg@5: 280 for all, 20 more for good, 20 more for equal; "):
        compare_models(fewer)
    found = compare_models(fewer, common_users=True)
    kept = compare_models(of(**{name: own.iloc[20:] for name, own in THREE.items()}))
    assert [one.findings for one in found.findings] == [one.findings for one in kept.findings]
    assert "--common-users: only users who count for all models" in list(lines(found))
    strangers = THREE["bad"].assign(user_id=[f"x{number}" for number in range(N)])
    with pytest.raises(DataError, match="no user counts for all models in ndcg@5"):
        compare_models(of(good=THREE["good"], bad=strangers))


def test_seeds_are_averaged_by_user():
    several = {name: [planted(shift, 0.02, seed) for seed in (4, 5)] for name, shift in (("a", 0.05), ("b", 0.0))}
    found = compare_models(of(**several))
    means = {name: pd.concat(own).groupby("user_id", as_index=False)["ndcg@5"].mean() for name, own in several.items()}
    averaged = compare_models(of(**means)).findings[0].findings
    assert found.findings[0].findings.metrics == pytest.approx(averaged.metrics, abs=1e-12)
    assert found.findings[0].findings.pairs[0].effect == pytest.approx(averaged.pairs[0].effect)
    with pytest.raises(ConfigError, match="a has 2 seeds, c 1; compare files of single seeds"):
        compare_models(of(**several, c=THREE["bad"]))


def test_the_metric_of_the_pairs():
    found = of(**{name: own.rename(columns={"ndcg@5": "novelty@5"}) for name, own in THREE.items()})
    assert compare_models(found).metric == "recall@9"  # the first that measures accuracy
    assert compare_models(found, "novelty@5").metric == "novelty@5"
    with pytest.raises(ConfigError, match="no model has values of recall@8; did you mean 'recall@9'"):
        compare_models(found, "recall@8")
    only = of(good=THREE["good"], bad=THREE["bad"][["user_id", "recall@9"]])
    assert compare_models(only).metric == "recall@9"
    assert "| bad | - |" in markdown(compare_models(only))
    with pytest.raises(ConfigError, match="only good has values of ndcg@5; choose another --metric"):
        compare_models(only, "ndcg@5")
    with pytest.raises(ConfigError, match="no metric in common"):
        compare_models(of(good=THREE["good"][["user_id", "ndcg@5"]], bad=THREE["bad"][["user_id", "recall@9"]]))


def test_files_of_the_same_name_have_their_paths(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        PerUser(THREE["good"], PROTOCOL).write(tmp_path / folder / "x.parquet")
    PerUser(THREE["bad"], PROTOCOL).write(tmp_path / "y.parquet")
    sources = [str(tmp_path / name) for name in ("a/x.parquet", "b/x.parquet", "y.parquet")]
    assert list(contenders(sources, None)) == [*sources[:2], "y"]
    with pytest.raises(ConfigError, match=r"x.parquet is named twice"):
        contenders([sources[0], sources[0]], None)
    (tmp_path / "damaged.parquet").write_bytes(Path(sources[2]).read_bytes()[:500])
    with pytest.raises(DataError, match=r"damaged.parquet: not a readable Parquet file"):
        contenders([sources[0], str(tmp_path / "damaged.parquet")], None)
