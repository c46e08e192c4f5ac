"""The Python door: what people pass first, before they have read anything."""

from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import pandas as pd
import torch
from robustness.catalogue import Case, cases
from robustness.feeding import small_log

import recsys_ae
from recsys_ae import (
    AutoRec,
    IdMap,
    Interactions,
    Rules,
    build_model,
    evaluate,
    explain,
    load_model,
    predict,
    recommend,
    save_model,
    similar_items,
)
from recsys_ae.data.planted.ratings import planted_ratings
from recsys_ae.evaluation.given_lists import evaluate_recommendations
from recsys_ae.splitting import k_fold, leave_last, per_user, random, time_cut, user_holdout


def frame() -> pd.DataFrame:
    Path("log.csv").write_text(small_log())
    table = pd.read_csv("log.csv").rename(columns={"user": "user_id", "item": "item_id"})
    Path("log.csv").unlink()
    return table


def data() -> Interactions:
    return Interactions.from_frame(frame(), scale=(1, 5))


def split():
    return random(data(), test=0.2, valid=0.1)


def ease():
    return build_model("ease").fit(data())


def says(name: str, call, *words: str, code: int | tuple[int, ...] = (1, 2)) -> Case:
    """A call that raises one of our errors."""
    return Case(name, call, {}, code, words)


ERRORS = [
    says("fit-of-a-frame", lambda: build_model("ease").fit(frame()), "Interactions", "from_frame"),
    says("fit-of-an-array", lambda: AutoRec().fit(np.ones((3, 4))), "Interactions", "ndarray"),
    says("fit-of-none", lambda: build_model("popularity").fit(None), "Interactions", "None"),
    says("fit-of-a-path", lambda: build_model("popularity").fit("log.csv"), "Interactions", "read_interactions|str"),
    says("fit-of-a-split", lambda: build_model("popularity").fit(split()), "Interactions", "Split|train"),
    says("valid-is-a-frame", lambda: AutoRec(epochs=1).fit(data(), valid=frame()), "valid", "Interactions"),
    says("seed-negative", lambda: AutoRec(epochs=1).fit(data(), seed=-1), "seed", "-1"),
    says("seed-text", lambda: AutoRec(epochs=1).fit(data(), seed="x"), "seed"),
    says("seed-huge", lambda: AutoRec(epochs=1).fit(data(), seed=2**64), "seed"),
    says("recommend-with-a-frame", lambda: recommend(ease(), frame()), "Interactions", "DataFrame|frame"),
    says("recommend-for-an-unfitted-model", lambda: recommend(build_model("ease"), data()), "fit"),
    says("recommend-none", lambda: recommend(None, data()), "model"),
    says("recommend-swapped", lambda: recommend(data(), ease()), "model|Interactions"),
    says("recommend-k-zero", lambda: recommend(ease(), data(), k=0), "k", "0"),
    says("recommend-k-fraction", lambda: recommend(ease(), data(), k=2.5), "k", "2.5"),
    says("recommend-k-text", lambda: recommend(ease(), data(), k="5"), "k"),
    says("recommend-unknown-user", lambda: recommend(ease(), data(), users=[999]), "999"),
    says("recommend-user-of-another-type", lambda: recommend(ease(), data(), users=["1"]), "1"),
    says("recommend-one-user-not-in-a-list", lambda: recommend(ease(), data(), users="1"), "list"),
    says("recommend-float-users", lambda: recommend(ease(), data(), users=[1.5]), r"1\.5"),
    says("recommend-boolean-users", lambda: recommend(ease(), data(), users=[True]), "bool|True"),
    says(
        "recommend-unknown-candidates", lambda: recommend(ease(), data(), rules=Rules.of(data().items, candidates=[999])), "999"
    ),
    says("recommend-cold-unknown", lambda: recommend(ease(), data(), cold="maybe"), "cold", "maybe"),
    says("predict-of-a-ranker", lambda: predict(ease(), data(), [1], [101]), "EASE|ease"),
    says("predict-of-unequal-lists", lambda: predict(build_model("bias").fit(data()), data(), [1, 2], [101]), "2", "1"),
    says("explain-unknown-item", lambda: explain(ease(), data(), 1, 999), "999"),
    says("similar-to-unknown", lambda: similar_items(ease(), [999]), "999"),
    says("metrics-unknown", lambda: evaluate(ease(), split(), ["ndgc@10"]), "ndgc", "ndcg"),
    says("metrics-empty", lambda: evaluate(ease(), split(), []), "metric"),
    says("metrics-none", lambda: evaluate(ease(), split(), None), "metric"),
    says("metrics-number", lambda: evaluate(ease(), split(), [5]), "metric", "5"),
    says("evaluate-on-a-frame", lambda: evaluate(ease(), frame(), ["ndcg@5"]), "Split|split"),
    says("evaluate-on-interactions", lambda: evaluate(ease(), data(), ["ndcg@5"]), "Split|split"),
    says("evaluate-part-unknown", lambda: evaluate(ease(), split(), ["ndcg@5"], part="train"), "valid", "train"),
    says(
        "evaluate-relevant-at-nan",
        lambda: evaluate(ease(), split(), ["ndcg@5"], relevant_at=float("nan")),
        "relevant_at",
        "nan",
    ),
    says("model-unknown", lambda: build_model("eese"), "eese", "ease"),
    says("model-parameter-unknown", lambda: build_model("ease", {"l3": 1}), "l3", "l2"),
    says("constructor-nan", lambda: AutoRec(l2=float("nan")), "l2", "nan"),
    says("constructor-infinite", lambda: AutoRec(learning_rate=float("inf")), "learning_rate", "inf"),
    says("constructor-text", lambda: AutoRec(hidden="many"), "hidden", "many"),
    says("constructor-huge", lambda: AutoRec(hidden=10**12), "hidden"),
    says("save-nul", lambda: save_model(ease(), "a\0b"), "a.x00b"),
    says("save-here", lambda: save_model(ease(), "."), "folder|model"),
    says("save-over-lists", lambda: save_over_lists(), "lists", "lost"),
    says("scores-of-no-such-row", lambda: ease().scores(data(), [999]), "rows", "999", "29"),
    says("scores-of-a-negative-row", lambda: ease().scores(data(), np.array([-1])), "rows", "-1"),
    says("scores-of-fractions", lambda: AutoRec(epochs=1).fit(data()).scores(data(), [0.5]), "rows", "whole"),
    says("scores-of-a-mask", lambda: ease().scores(data(), np.array([True])), "rows", "bool"),
    says("scores-of-one-number", lambda: ease().scores(data(), 0), "rows", "list"),
    says("matrix-with-a-negative-column", lambda: with_matrix("indices", 0, -1), "matrix"),
    says("matrix-with-a-column-beyond", lambda: with_matrix("indices", 0, 99), "matrix"),
    says("matrix-with-rows-that-go-back", lambda: with_matrix("indptr", 3, 0), "matrix"),
    says("matrix-with-rows-beyond", lambda: with_matrix("indptr", -1, 999), "matrix"),
    says("times-in-a-list", lambda: replace(data(), times=[1] * len(data())), "times", "int64", "list"),
    says("times-as-floats", lambda: replace(data(), times=np.ones(len(data()))), "times", "int64", "float64"),
    says("order-as-floats", lambda: replace(data(), order=np.ones(len(data()))), "order", "int64"),
    says("policy-unknown", lambda: replace(data(), duplicates="first"), "duplicates", "first"),
    says("features-in-a-frame", lambda: replace(data(), user_features=frame()), "user_features", "FeatureTable"),
    says("events-in-a-frame", lambda: replace(data(), events=frame()), "events", "Events"),
    says("events-of-unknown-users", lambda: with_events(users=lambda rows: rows + 99), "user rows", "29"),
    says("events-of-other-pairs", lambda: with_events(items=lambda rows: rows[::-1].copy()), "events", "disagree"),
    says("events-with-other-ratings", lambda: with_events(ratings=lambda ratings: ratings + 1), "events", "disagree"),
    says("events-with-other-times", lambda: with_events(times=lambda times: times + 1), "events", "disagree"),
    says("events-without-times", lambda: with_events(times=lambda times: None), "events", "disagree"),
    says("events-not-by-time", lambda: with_events(times=lambda times: times[::-1].copy()), "events", "disagree"),
    says("events-of-unequal-length", lambda: with_events(ratings=lambda ratings: ratings[1:]), "ratings", "events"),
    says("load-nothing", lambda: load_model("nowhere"), "nowhere"),
    says("load-none", lambda: load_model(None), "model|None|folder"),
    says("save-unfitted", lambda: save_model(build_model("ease"), "model"), "fit"),
    says("save-below-a-file", lambda: save_model(ease(), "/dev/null/model"), "/dev/null"),
    says("split-shares", lambda: random(data(), test=1.5), "1.5"),
    says("split-nan", lambda: random(data(), test=float("nan")), "nan"),
    says("split-text", lambda: random(data(), test="some"), "test"),
    says("split-numbers-as-text", lambda: leave_last(data(), test="one"), "test", "one"),
    says("split-flag-for-a-share", lambda: per_user(data(), test=True), "test", "True"),
    says("split-seed-text", lambda: random(data(), seed="x"), "seed", "x"),
    says("split-unknown-parameter", lambda: time_cut(data(), share=0.1), "share"),
    says("split-time-text", lambda: time_cut(Interactions.from_frame(frame(), time="time"), at="soon"), "soon"),
    says("epochs-true", lambda: AutoRec(epochs=True), "epochs", "True"),
    says("flag-as-text", lambda: build_model("autorec", {"tied": "yes"}), "tied", "yes"),
    says("planted-seed-negative", lambda: planted_ratings(50, 50, 100, seed=-1), "seed", "-1"),
    says("save-with-nul", lambda: save_model(ease(), "a\0b"), "NUL"),
    says("save-to-a-long-name", lambda: save_model(ease(), "x" * 300), "long", "xxx"),
    says("scores-infinite", lambda: lists_with_scores(float("inf")), "score", "inf"),
    says("split-of-a-frame", lambda: per_user(frame()), "Interactions"),
    says("split-folds", lambda: k_fold(data(), k=1), "k", "1"),
    says("split-fold-in", lambda: user_holdout(data(), fold_in=float("nan")), "fold_in", "nan"),
    says("leave-last-without-times", lambda: leave_last(data()), "time"),
    says("ids-repeated", lambda: IdMap([1, 1]), "1"),
    says("ids-mixed", lambda: IdMap([1, "a"]), "1|a"),
    says("ids-two-dimensional", lambda: IdMap(np.ones((2, 2), int)), "list"),
    says("ids-none", lambda: IdMap(None), "list|None"),
    says("scale-of-one", lambda: Interactions.from_frame(frame(), scale=(1,)), "scale"),
    says("scale-infinite", lambda: Interactions.from_frame(frame(), scale=(float("-inf"), float("inf"))), "scale", "inf"),
    says("duplicates-unknown", lambda: Interactions.from_frame(frame(), duplicates="first"), "duplicates", "first"),
    says(
        "time-unit-unknown", lambda: Interactions.from_frame(frame(), time="time", time_unit="minutes"), "time_unit", "minutes"
    ),
    says("infinite-weights", lambda: ease_with_weights(float("inf")), "finite|damaged"),
]


def lists_with_scores(score: float):
    lists = pd.DataFrame({"user_id": [1, 1], "rank": [1, 2], "item_id": [101, 102], "score": [1.0, score]})
    return evaluate_recommendations(lists, lists[["user_id", "item_id"]], "recall@2", list_length=2)


def ease_with_weights(value: float):
    """The scores of a model into whose weights something crept that is no number."""
    model = ease()
    name, weights = next((name, array) for name, array in model.fitted.arrays.items() if array.dtype.kind == "f")
    spoiled = weights.copy()
    spoiled.flat[0] = value
    object.__setattr__(model.fitted, "arrays", {**model.fitted.arrays, name: spoiled})
    save_model(model, "model")
    return load_model("model")


def same(model: str, **params: object) -> bool:
    """Whether one and two threads learn the same model."""
    import numba

    from recsys_ae.models.storage import model_digest

    digests, before = [], (torch.get_num_threads(), numba.get_num_threads())
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        torch.set_num_threads(threads)
        numba.set_num_threads(threads)
        digests.append(model_digest(build_model(model, params).fit(data(), seed=0)))
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])
    return digests[0] == digests[1]


def lists(history) -> list[int]:
    return recommend(ease(), history, users=[1], k=3).to_frame()["item_id"].tolist()


def save_over_lists() -> None:
    """Save a model again in a folder that by now holds something else as well."""
    save_model(ease(), "model")
    try:
        Path("model/lists").mkdir()
        save_model(ease(), "model")
    finally:
        rmtree("model")


def with_matrix(part: str, at: int, value: int) -> Interactions:
    """The data with one number of its matrix changed."""
    matrix = data().matrix.copy()
    getattr(matrix, part)[at] = value
    return replace(data(), matrix=matrix)


def with_events(**changes) -> Interactions:
    """Data of repeated events, in the log of which columns are changed."""
    twice = pd.concat([frame(), frame().assign(time=lambda table: table["time"] + 10**6)])
    merged = Interactions.from_frame(twice, time="time", duplicates="last")
    assert replace(merged, events=merged.events).digest == merged.digest
    columns = {name: change(getattr(merged.events, name)) for name, change in changes.items()}
    return replace(merged, events=replace(merged.events, **columns))


ACCEPTED = [
    Case("metrics-as-text", lambda: list(evaluate(ease(), split(), "ndcg@10").metrics), gives=["ndcg@10"]),
    Case(
        "metrics-as-a-tuple",
        lambda: list(evaluate(ease(), split(), ("ndcg@5", "recall@5")).metrics),
        gives=["ndcg@5", "recall@5"],
    ),
    Case("report-in-words", lambda: len(repr(evaluate(ease(), split(), ["ndcg@5"]))) < 200, gives=True),
    Case("interactions-in-words", lambda: len(repr(data())) < 300, gives=True),
    Case("split-in-words", lambda: len(repr(split())) < 1000, gives=True),
    Case("model-in-words", lambda: len(repr(ease())) < 500, gives=True),
    Case("lists-in-words", lambda: len(repr(recommend(ease(), data()))) < 1500, gives=True),
    Case("numpy-users", lambda: recommend(ease(), data(), users=np.array([1, 2])).users.tolist(), gives=[1, 2]),
    Case("numpy-k", lambda: recommend(ease(), data(), users=[1], k=np.int64(3)).item_rows.shape, gives=(1, 3)),
    Case("series-of-users", lambda: recommend(ease(), data(), users=pd.Series([1, 2])).users.tolist(), gives=[1, 2]),
    Case(
        "small-integers-as-users",
        lambda: recommend(ease(), data(), users=np.array([1, 2], np.uint8)).users.tolist(),
        gives=[1, 2],
    ),
    Case("numpy-parameters", lambda: build_model("ease", {"l2": np.float32(5)}).l2, gives=5.0),
    Case("threads-ease", lambda: same("ease"), gives=True),
    Case("threads-recvae", lambda: same("recvae", hidden=9, latent=3, epochs=2), gives=True),
    Case("threads-autorec", lambda: same("autorec", hidden=[9], epochs=2), gives=True),
    Case(
        "every-public-name-exists",
        lambda: (
            [name for name in recsys_ae.__all__ if getattr(recsys_ae, name, None) is None]
            if hasattr(recsys_ae, "__all__")
            else []
        ),
        gives=[],
    ),
]


@cases(*ERRORS, *ACCEPTED)
def test_python(case, examine):
    examine(case)
