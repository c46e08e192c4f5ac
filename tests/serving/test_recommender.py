"""Answers of a served model: equal to exported lists, from stored histories or those of the request."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import ITEMS, SMALL, USERS, VARIANTS, clicks, of_users, planted

from recsys_ae import Interactions, build_model, recommend, save_model
from recsys_ae.errors import ColdUserError, ConfigError, DataError, RecsysError
from recsys_ae.ids import IdMap
from recsys_ae.serving.recommender import ServedRecommender, Settings, write_serving


def serve(folder: Path, model, history=None, seen=None, **settings) -> ServedRecommender:
    """The model, saved and loaded again."""
    (folder / "serving").mkdir()
    save_model(model, folder / "model")
    write_serving(folder / "serving", Settings(**settings), history, seen)
    return ServedRecommender(folder / "model", folder / "serving")


def flat(lists: pd.DataFrame) -> pd.DataFrame:
    """The lists in the columns of an export; users without items have none."""
    rows = [
        (one.user_id, rank, item, score)
        for one in lists.itertuples()
        for rank, item, score in zip(one.rank, one.item_id, one.score, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "rank", "item_id", "score"])
    return frame.astype({"rank": "int32", "score": "float32"})


def events_of(data: Interactions, user: str) -> list[dict]:
    frame = data.to_frame()
    return frame[frame["user_id"] == user][["item_id", "rating"]].to_dict("records")


MODELS = {
    "autorec": {"axis": "item", "hidden": 4, "epochs": 5},
    "mf": {"factors": 3, "epochs": 3},
    "ease": {"l2": 2.0},
    "multvae": {"hidden": 8, "epochs": 3},
    "hybrid": {"hidden": 4, "epochs": 3},
    "bpr": {"factors": 3, "epochs": 3},
    "markov": {},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_stored_histories_give_the_exported_lists(tmp_path, name):
    """A contract of every model."""
    data, (kind, params) = planted(), VARIANTS[name]
    model = build_model(kind, {**params, **({"epochs": 3} if "epochs" in params else {})}).fit(data)
    served = serve(tmp_path, model, data)
    expected = recommend(model, data, k=4)
    order = [7, 0, 11, 3, 5]
    for rows in ([0], order, list(range(12))):
        found = served.answer(pd.DataFrame({"user_id": USERS.values[rows]}), k=4)
        wanted = recommend(model, data, USERS.values[rows], k=4).to_frame()
        pd.testing.assert_frame_equal(flat(found), wanted, check_dtype=False, check_exact=True)
        for user, scores in zip(rows, found["score"], strict=True):
            assert np.array_equal(np.array(scores, np.float32), expected.scores[user][: len(scores)])


@pytest.mark.parametrize("name", ["autorec", "ease", "multvae", "hybrid"])
def test_a_history_in_the_request_is_as_good_as_a_stored_one(tmp_path, name):
    data = planted()
    model = build_model(name, MODELS[name]).fit(data)
    served = serve(tmp_path, model)
    request = pd.DataFrame({"user_id": USERS.values[:3], "history": [events_of(data, user) for user in USERS.values[:3]]})
    wanted = recommend(model, data, USERS.values[:3], k=10).to_frame()
    pd.testing.assert_frame_equal(flat(served.answer(request)), wanted, check_dtype=False, check_exact=True)


def test_a_history_in_the_request_replaces_the_stored_one(tmp_path):
    data = clicks()
    model = build_model("ease", {"l2": 2.0}).fit(data)
    served = serve(tmp_path, model, data)
    other = of_users(data, [9], ["u00"])
    request = pd.DataFrame({"user_id": ["u00", "u00"], "history": [[item["item_id"] for item in events_of(data, "u09")], None]})
    found = flat(served.answer(request, k=3))
    first = recommend(model, other, k=3).to_frame()
    second = recommend(model, data, ["u00"], k=3).to_frame()
    pd.testing.assert_frame_equal(found, pd.concat([first, second], ignore_index=True), check_dtype=False, check_exact=True)


@pytest.mark.parametrize(("name", "blocks"), [("ease", [5]), ("cdae", [1] * 5)])
def test_a_list_is_not_computed_for_every_row_of_a_user(tmp_path, monkeypatch, name, blocks):
    """Rows of a user share the list of the stored history; others are scored one by one only if the model knows the id."""
    data = clicks()
    model = build_model(name, {**SMALL[name], **({"epochs": 3} if name == "cdae" else {})}).fit(data)
    served = serve(tmp_path, model, data)
    asked = []
    monkeypatch.setattr(served, "_named", lambda users: asked.append(users) or ServedRecommender._named(served, users))
    histories = [None, [100, 101], None, [105], None, [100, 101], [105]]
    found = served.answer(pd.DataFrame({"user_id": ["u00"] * 7, "history": histories}), k=3, exclude_seen=False)
    alone = [served.answer(pd.DataFrame({"user_id": ["u00"], "history": [own]}), k=3, exclude_seen=False) for own in histories]
    pd.testing.assert_frame_equal(found, pd.concat(alone, ignore_index=True))
    assert [len(users) for users in asked[: len(blocks)]] == blocks
    assert len(asked) == len(blocks) + 7


def test_users_without_an_id_each_have_a_row(tmp_path):
    data = clicks()
    model = build_model("ease", {"l2": 2.0}).fit(data)
    served = serve(tmp_path, model)
    histories = [[100, 101], [105], [100, 101]]
    found = served.answer(pd.DataFrame({"history": histories}), k=2)
    frame = pd.DataFrame([(n, item) for n, items in enumerate(histories) for item in items], columns=["user_id", "item_id"])
    wanted = recommend(model, Interactions.from_frame(frame, rating=None, items=ITEMS), k=2)
    assert found["user_id"].tolist() == [None] * 3
    assert found["item_id"].tolist() == ITEMS.values[wanted.item_rows].tolist()
    assert found["rank"].tolist() == [[1, 2]] * 3


@pytest.mark.parametrize("name", list(MODELS))
def test_a_stranger_gets_what_the_policy_says(tmp_path, name):
    data = planted()
    model = build_model(name, MODELS[name]).fit(data)
    served = serve(tmp_path, model, data, cold="skip")
    strangers = pd.DataFrame({"user_id": ["new", None, "old"], "history": [None, [], [{"item_id": 999, "rating": 5}]]})
    assert served.answer(strangers)["item_id"].tolist() == [[], [], []]
    popular = data.items.values[np.argsort(-np.bincount(data.matrix.indices), kind="stable")[:3]].tolist()
    assert served.answer(strangers, k=3, cold="popular")["item_id"].tolist() == [popular] * 3
    with pytest.raises(ColdUserError, match="cannot score user 'new'"):
        served.answer(strangers, cold="error")


def test_the_order_of_a_history_is_its_times_or_else_its_own(tmp_path):
    rows = [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 2), ("c", 3), ("d", 2), ("d", 3), ("e", 3), ("e", 1)]
    frame = pd.DataFrame([(*row, at) for at, row in enumerate(rows)], columns=["user_id", "item_id", "time"])
    model = build_model("markov").fit(Interactions.from_frame(frame, rating=None, time="time"))
    served = serve(tmp_path, model)
    by_time = [{"item_id": 2, "time": "2020-01-02"}, {"item_id": 1, "time": "2020-01-01"}]
    found = served.answer(pd.DataFrame({"history": [[1, 2], [2, 1], by_time, np.array([1, 2])]}), exclude_seen=False, k=1)
    assert found["item_id"].tolist() == [[3], [2], [3], [3]]  # 2 is followed by 3 twice, 1 by 2


def test_candidates_and_seen_items(tmp_path):
    data = clicks()
    served = serve(tmp_path, build_model("popularity").fit(data), data)
    users = pd.DataFrame({"user_id": ["u00", "u08"]})  # u00 likes 101 to 103, u08 104 and 106
    assert served.answer(users, candidates=[101, 106, 12345])["item_id"].tolist() == [[106], [101]]
    wide = served.answer(users, candidates=np.array([101, 106]), exclude_seen=False)
    assert sorted(wide["item_id"][0]) == [101, 106]
    assert served.answer(users, candidates=[12345])["item_id"].tolist() == [[], []]


def test_ratings_below_the_threshold_are_seen_but_not_liked(tmp_path):
    """As the lists of a pipeline with `positive_at`, which exclude all that the data has for a user."""
    data = planted()
    liked = data.binarise(4)
    model = build_model("ease", {"l2": 2.0}).fit(liked)
    served = serve(tmp_path, model, liked, data, positive_at=4.0)
    known = recommend(model, liked, k=5, exclude_seen=False)
    for user, lists in zip(USERS.values, served.answer(pd.DataFrame({"user_id": USERS.values}), k=7)["item_id"], strict=True):
        assert not {*lists} & {event["item_id"] for event in events_of(data, user)}
    request = pd.DataFrame({"user_id": ["x"], "history": [events_of(data, "u00")]})
    assert len(served.answer(request)["item_id"][0]) == 1
    scores = served.answer(request, k=5, exclude_seen=False)["score"][0]
    assert np.array_equal(np.array(scores, np.float32), known.scores[0])
    ids = pd.DataFrame({"history": [[event["item_id"] for event in events_of(liked, "u00")]]})
    assert served.answer(ids, k=5, exclude_seen=False)["score"][0] == scores


def test_a_ranking_model_needs_no_ratings_though_it_was_trained_on_some(tmp_path):
    data = planted()
    served = serve(tmp_path, build_model("ease", {"l2": 2.0}).fit(data))
    events = events_of(data, "u00")
    rated, bare = (served.answer(pd.DataFrame({"history": [one]})) for one in (events, [event["item_id"] for event in events]))
    assert len({event["rating"] for event in events}) > 1
    pd.testing.assert_frame_equal(rated, bare)


def test_repeated_events_are_merged_as_in_training(tmp_path):
    frame = pd.DataFrame({"user_id": [1, 1, 1, 2, 2], "item_id": ["a", "a", "b", "b", "c"], "rating": [1.0, 2, 1, 4, 1]})
    data = Interactions.from_frame(frame, duplicates="sum")
    model = build_model("bias").fit(data)
    served = serve(tmp_path, model, data, duplicates="sum", exclude_seen=False)
    events = [{"item_id": item, "rating": rating} for item, rating in (("a", 1), ("a", 2), ("b", 1))]
    found = served.answer(pd.DataFrame({"user_id": [1, 1], "history": [None, events]}))
    wanted = recommend(model, data, [1], exclude_seen=False)
    for scores in found["score"]:
        assert np.array_equal(np.array(scores, np.float32), wanted.scores[0])
    assert found["user_id"].dtype == np.int64


WRONG = [
    ({"user": ["u00"]}, "a request needs the column user_id, history or both"),
    ({"user_id": [7]}, "user_id must be text, as in training, got 7"),
    ({"history": ["100"]}, "history in row 0 must be a list of item ids, or of events"),
    ({"history": [{"item_id": 100}]}, "history in row 0 must be a list"),
    ({"history": [[{"item_id": 100, "ratng": 3}]]}, "the key 'ratng'; did you mean 'rating'"),
    ({"history": [[{"rating": 3}]]}, "has an event without an item_id: {"),
    ({"history": [[{"item_id": None, "rating": 3}]]}, "has an event without an item_id"),
    ({"history": [[{"item_id": 100, "rating": 3}], [100]]}, "history in row 1 has no ratings, but the model predicts ratings"),
    ({"history": [[{"item_id": 100, "rating": "3"}]]}, "history in row 0 has the rating '3'; ratings are numbers"),
    ({"history": [[{"item_id": 100, "rating": float("inf")}]]}, "rating inf"),
    ({"history": [[{"item_id": 100, "rating": 50}]]}, "ratings from 50 to 50"),
    ({"history": [[{"item_id": "x", "rating": 5}]]}, "expected ids that are integers, such as 100, got 'x'"),
    ({"history": [[{"item_id": 100, "rating": 5, "time": "soon"}]]}, "time 'soon'"),
    (
        {"history": [[{"item_id": 100, "rating": 5, "time": 1}, {"item_id": 101, "rating": 5}]]},
        "history in row 0 has events with and without a time",
    ),
]


@pytest.fixture(scope="module")
def rating_server(tmp_path_factory) -> ServedRecommender:
    data = planted()
    return serve(tmp_path_factory.mktemp("ratings"), build_model("bias").fit(data), data)


@pytest.mark.parametrize(("columns", "message"), WRONG)
def test_what_is_wrong_with_a_request_is_said(rating_server, columns, message):
    with pytest.raises(DataError, match=message):
        rating_server.answer(pd.DataFrame(columns))


@pytest.mark.parametrize(
    ("options", "message"), [({"k": 0}, "k must be"), ({"candidates": ["x"]}, "expected ids that are integers")]
)
def test_what_is_wrong_with_the_parameters_is_said(rating_server, options, message):
    with pytest.raises(RecsysError, match=message):
        rating_server.answer(pd.DataFrame({"user_id": ["u00"]}), **options)


def test_an_empty_request_has_an_empty_answer(rating_server):
    found = rating_server.answer(pd.DataFrame({"user_id": pd.Series([], dtype="str")}))
    assert found.columns.tolist() == ["user_id", "item_id", "rank", "score"]
    assert len(found) == 0


def test_damaged_files_are_refused(tmp_path):
    data = clicks()
    serve(tmp_path, build_model("popularity").fit(data), data)
    path = tmp_path / "serving" / "history-events.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"history-events.parquet is damaged: its content has changed; log the model again"):
        ServedRecommender(tmp_path / "model", tmp_path / "serving")


def test_policies_are_checked(rating_server):
    with pytest.raises(ConfigError, match="cold must be one of"):
        rating_server.answer(pd.DataFrame({"user_id": ["u00"]}), cold="freeze")


def test_made_up_ids_are_nobody_elses():
    server = object.__new__(ServedRecommender)
    server._user_kind = "int"
    server.model = build_model("bpr", {"factors": 2, "epochs": 1}).fit(
        Interactions.from_frame(pd.DataFrame({"user_id": [-1, -1, 4], "item_id": [1, 2, 1]}), rating=None)
    )
    assert server._named([None, -2, None]) == IdMap([-3, -2, -4])
