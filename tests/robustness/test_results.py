"""Right results where a wrong one would look just as plausible, with answers that are known by construction."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from builders import SMALL, VARIANTS
from robustness.catalogue import Case, cases
from robustness.feeding import RUN, card, lines, parquet, pipeline, run, small_log

from recsys_ae import Interactions, build_model, evaluate, recommend
from recsys_ae.data.cards import read_card
from recsys_ae.data.ratings import load_ratings
from recsys_ae.evaluation.given_lists import evaluate_recommendations
from recsys_ae.models import MODELS
from recsys_ae.splitting import leave_last, time_cut


def report() -> dict:
    return json.loads(Path("out/report.json").read_text())


def read(text: str, **keys: object) -> Interactions:
    Path("log.csv").write_text(text)
    Path("card.yaml").write_text(json.dumps(card(**keys)))
    return load_ratings(*read_card("card.yaml")).interactions


def pairs(data: Interactions) -> list[tuple[int, int, float]]:
    return [tuple(row) for row in data.to_frame()[["user_id", "item_id", "rating"]].itertuples(index=False)]


# A pair that began before the cut and recurs after it was known before the cut.
AGAIN = lines("1,7,1,10", "1,8,1,20", "2,7,1,15", "1,7,2,100", "2,9,1,110")


def cut(**keys: object) -> dict[str, list]:
    split = time_cut(read(AGAIN, **keys), at=50)
    repeated = split.test.shared_with(split.train)
    return {"train": pairs(split.train), "test": pairs(split.test), "repeats": repeated.tolist()}


def last(**keys: object) -> dict[str, list]:
    split = leave_last(read(AGAIN, **keys), test=1)
    return {"train": pairs(split.train), "test": pairs(split.test)}


LEAKS = [
    Case(
        "cut-of-sums",
        lambda: cut(duplicates="sum"),
        gives={"train": [(1, 7, 1.0), (1, 8, 1.0), (2, 7, 1.0)], "test": [(1, 7, 2.0), (2, 9, 1.0)], "repeats": [True, False]},
    ),
    Case(
        "cut-of-last",
        lambda: cut(duplicates="last"),
        gives={"train": [(1, 7, 1.0), (1, 8, 1.0), (2, 7, 1.0)], "test": [(1, 7, 2.0), (2, 9, 1.0)], "repeats": [True, False]},
    ),
    Case(
        "cut-of-means",
        lambda: cut(duplicates="mean"),
        gives={"train": [(1, 7, 1.0), (1, 8, 1.0), (2, 7, 1.0)], "test": [(1, 7, 2.0), (2, 9, 1.0)], "repeats": [True, False]},
    ),
    Case(
        "leave-last-of-sums",
        lambda: last(duplicates="sum"),
        gives={"train": [(1, 7, 1.0), (1, 8, 1.0), (2, 7, 1.0)], "test": [(1, 7, 2.0), (2, 9, 1.0)]},
    ),
    Case(
        "leave-last-of-last",
        lambda: last(duplicates="last"),
        gives={"train": [(1, 7, 1.0), (1, 8, 1.0), (2, 7, 1.0)], "test": [(1, 7, 2.0), (2, 9, 1.0)]},
    ),
]


def last_item(times: list[str], parquet_times: object = None, **keys: object) -> int:
    """The item that `leave_last` holds out of the items 9, 7 and 8, in that order with these times."""
    if parquet_times is not None:
        Path("log.parquet").write_bytes(
            parquet(user=[1, 1, 1, 2, 2], item=[9, 7, 8, 7, 9], rating=[1.0] * 5, time=parquet_times)
        )
        Path("card.yaml").write_text(json.dumps(card("log.parquet", **keys)))
        data = load_ratings(*read_card("card.yaml")).interactions
    else:
        data = read(
            lines(
                *(f"1,{item},1,{time}" for item, time in zip((9, 7, 8), times, strict=True)),
                f"2,7,1,{times[0]}",
                f"2,9,1,{times[1]}",
            ),
            **keys,
        )
    test = leave_last(data, test=1).test.to_frame()
    return int(test[test["user_id"] == 1]["item_id"].iloc[0])


def stamps(*milliseconds: int):
    import pyarrow as pa

    return pa.array(milliseconds, pa.timestamp("ms"))


ORDER = [
    Case("equal-times-take-the-last-of-the-file", lambda: last_item(["10", "10", "10"]), gives=8),
    Case("equal-dates-take-the-last-of-the-file", lambda: last_item(["1970-01-01"] * 3), gives=8),
    Case(
        "iso-milliseconds-decide",
        lambda: last_item(["1970-01-01T00:00:00.200Z", "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.100Z"]),
        gives=9,
    ),
    Case(
        "iso-microseconds-decide",
        lambda: last_item(["1970-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.000002Z", "1970-01-01T00:00:00.000000Z"]),
        gives=7,
    ),
    Case("fractions-decide", lambda: last_item(["0.2", "0.3", "0.1"]), gives=7),
    Case("parquet-milliseconds-decide", lambda: last_item([], stamps(200, 0, 100, 0, 1)), gives=9),
    Case("parquet-equal-times", lambda: last_item([], stamps(5, 5, 5, 5, 5)), gives=8),
]


# Lists to ship know everything that the data says, whatever part it is in.
def already_have() -> int:
    """Number of shipped pairs that are in the log."""
    lists = pd.concat([pd.read_parquet(path) for path in sorted(Path("out/recommendations").glob("part-*"))])
    log = pd.read_csv("log.csv")
    have = set(zip(log["user"], log["item"], strict=True))
    assert len(lists)
    return sum(pair in have for pair in zip(lists["user_id"], lists["item_id"], strict=True))


SHIPPED = [
    run("lists-to-ship-exclude-the-test-part", export={"k": 3}, models=[{"name": "ease"}], code=0, then=already_have, gives=0),
    run(
        "lists-to-ship-exclude-disliked-items",
        export={"k": 3},
        models=[{"name": "ease"}],
        positive_at=4,
        code=0,
        then=already_have,
        gives=0,
    ),
    run(
        "lists-to-ship-after-a-cut",
        export={"k": 3},
        models=[{"name": "popularity"}],
        split={"kind": "time_cut", "test": 0.3, "valid": 0.1},
        code=0,
        then=already_have,
        gives=0,
    ),
    run(
        "lists-to-ship-after-leave-last",
        export={"k": 3},
        models=[{"name": "itemknn"}],
        split={"kind": "leave_last", "valid": 1},
        code=0,
        then=already_have,
        gives=0,
    ),
]


# A model that is no better than popularity, and seeds that decide nothing, are called so.
SAID = [
    run(
        "seeds-that-decide-nothing",
        models=[{"name": "ease"}],
        split={"kind": "leave_last", "valid": 1},
        seed=[0, 1, 2],
        code=0,
        says=("identical",),
    ),
    run(
        "seeds-that-decide-nothing-in-a-cut",
        models=[{"name": "popularity"}],
        split={"kind": "time_cut", "test": 0.2, "valid": 0.1},
        seed=[0, 1],
        code=0,
        says=("identical",),
    ),
    run("seeds-that-decide", models=[{"name": "mf", "factors": 2, "epochs": 2}], seed=[0, 1], code=0, never=("identical",)),
    run("all-ratings-equal", positive_at=1, code=0, says=("popularity",)),
]


# Memory is for the items there are, not for those asked for.
def many_places() -> int:
    """Users evaluated at 100,000 places of 12 items."""
    lists = pd.DataFrame({"user_id": np.repeat(np.arange(2000), 2), "rank": [1, 100_000] * 2000, "item_id": [1, 2] * 2000})
    truth = pd.DataFrame({"user_id": np.arange(2000), "item_id": 1})
    return evaluate_recommendations(lists, truth, ["ndcg@100000"], list_length=100_000).counts["users_evaluated"]


def evaluated_at(k: int) -> float:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"user_id": np.repeat(np.arange(2000), 6), "item_id": np.tile(np.arange(6), 2000) + rng.integers(0, 40, 12_000)}
    )
    data = Interactions.from_frame(frame.drop_duplicates(), rating=None)
    from recsys_ae.splitting import random

    split = random(data, test=0.2)
    model = build_model("popularity").fit(split.train)
    return evaluate(model, split, [f"hit_rate@{k}"]).metrics[f"hit_rate@{k}"]


BOUNDS = [
    Case("ndcg-at-100000-of-2000-users", lambda: evaluated_at(100_000), gives=1.0),
    Case("lists-with-a-rank-of-100000", many_places, gives=2000, slow=True),
    Case(
        "recommend-more-than-there-is",
        lambda: (
            recommend(build_model("popularity").fit(read(small_log())), read(small_log()), k=10**9).item_rows.shape[1] <= 12
        ),
        gives=True,
    ),
]


@cases(*LEAKS, *ORDER, *SHIPPED, *SAID, *BOUNDS)
def test_result(case, examine):
    examine(case)


def new_users_after_the_cut() -> str:
    """Users 1 to 20 before the cut, and 21 to 40, who have no history, after it."""
    early = small_log(20)
    late = small_log(20, first_user=21).split("\n", 1)[1]
    shifted = [line.rsplit(",", 1) for line in late.splitlines()]
    return early + "".join(f"{row},{int(time) + 10**8}\n" for row, time in shifted)


WITH_FEATURES = {"user_features", "item_features"}  # which this log does not have
COLD = [
    Case(
        f"cold-users-{variant}",
        RUN,
        {
            "mine.yaml": pipeline(
                models=[{"name": name, **{**params, **({"epochs": 2} if "epochs" in params else {})}}],
                split={"kind": "time_cut", "at": 10_000_000},
                export={"k": 2},
            ),
            "log.csv": new_users_after_the_cut(),
        },
        0,
        then=lambda: next(iter(report()["models"].values()))["runs"]["0"]["counts"]["cold"],
        gives=20,
    )
    for variant, (name, params) in VARIANTS.items()
    if "cdae-" not in variant and "autorec-user-" not in variant and not build_model(name, params).needs & WITH_FEATURES
]
TINY = [Case(f"one-pair-{name}", lambda name=name: fits_one_pair(name), gives=True) for name in MODELS]


def fits_one_pair(name: str) -> bool:
    """Whether a model fitted on one user, one item and one rating gives finite scores, or says what it needs."""
    from recsys_ae.errors import RecsysError

    data = Interactions.from_frame(pd.DataFrame({"user_id": [1], "item_id": [7], "rating": [4.0]}), scale=(1, 5))
    params = {**SMALL[name], **({"epochs": 2} if "epochs" in SMALL[name] else {})}
    try:
        model = build_model(name, params).fit(data)
    except RecsysError as error:
        return bool(str(error))
    return bool(np.isfinite(model.scores(data, np.array([0]))).all())


@cases(*COLD, *TINY)
def test_model(case, examine):
    examine(case)
