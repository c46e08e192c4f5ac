"""The page of a run: its facts against independent computations, and that it never spoils a run."""

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import yaml
from builders import from_dense
from html_pages import HOSTILE, SCRIPT, Parsed, hostile_files, run_in

from recsys_ae import build_model, evaluate, explain, load_model, recommend
from recsys_ae.errors import ColdUserError, DataError
from recsys_ae.experiment import html_report
from recsys_ae.experiment.closer_look import HISTORY, SHOWN, K, look_closer, training_data
from recsys_ae.experiment.html_report import rewrite_html
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.reporting.html.explorer import explorer_blocks
from recsys_ae.splitting.at_random import random
from recsys_ae.tracking import TrackedRun, Tracker

pytestmark = pytest.mark.charts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run on data whose texts are markup."""
    path = tmp_path_factory.mktemp("shop")
    hostile_files(path)
    run_in(path)
    return path


@pytest.fixture(scope="module")
def split(folder):
    return RatingTask(read_pipeline(str(folder / "mine.yaml"))).data(0)


@pytest.fixture(scope="module")
def models(folder):
    return {label: load_model(folder / "out/models" / label) for label in ("ease", "network", "popularity")}


@pytest.fixture(scope="module")
def look(split, models):
    titles = {"i1": "One"}
    return look_closer(models.items(), split, relevant_at=None, cold="popular", candidates=None, titles=titles)


def lists_of(page: str) -> dict:
    """The data of the explorer."""
    return json.loads(page.partition('id="lists-data">')[2].partition("</script>")[0])


def test_hostile_texts_are_only_texts(folder):
    page = (folder / "out/report.html").read_text()
    parsed = Parsed.of(page)
    parsed.check_safe()
    assert HOSTILE in "".join(parsed.texts)  # a group of users
    content = lists_of(page)
    names = [name for item in content["items"] for name in item]
    assert {f"{SCRIPT}3", HOSTILE, f"{SCRIPT} 2", "i0"} <= set(names)
    assert ["i0"] in content["items"]  # it has no title


def test_a_page_written_again_is_the_same(folder):
    before = (folder / "out/report.html").read_bytes()
    (folder / "out/report.html").unlink()
    assert rewrite_html(folder / "out") == folder / "out/report.html"
    assert (folder / "out/report.html").read_bytes() == before


def test_metrics_by_length_are_those_of_the_evaluation(look, split, models):
    assert (look.depths.users, look.depths.relevant_users) == (60, 60)
    assert look.depths.lengths == [1, 2, 5, 10, 20]
    found = evaluate(models["ease"], split, ["ndcg@5", "recall@20", "coverage@10"]).metrics
    assert look.depths.values["ndcg"]["ease"][2] == found["ndcg@5"]
    assert look.depths.values["recall"]["ease"][4] == found["recall@20"]
    assert look.depths.beyond["coverage@10"]["ease"] == found["coverage@10"]


def test_some_users_are_measured_where_there_are_many(split, models, monkeypatch):
    from recsys_ae.experiment import closer_look

    monkeypatch.setattr(closer_look, "MEASURED", 10)
    found = look_closer([("ease", models["ease"])], split, relevant_at=None, cold="popular", candidates=None, titles={})
    assert (found.depths.users, found.depths.relevant_users) == (10, 60)
    per_user = evaluate(models["ease"], split, "ndcg@5")
    drawn = np.random.default_rng(0).permutation(60)[:10]
    rows = split.test.users.find(per_user.users)
    expected = per_user.per_user["ndcg@5"][np.isin(rows, drawn)].mean()
    assert found.depths.values["ndcg"]["ease"][2] == pytest.approx(expected, rel=1e-12)


def test_errors_are_those_of_predictions(look, split, models):
    from recsys_ae import predict

    test = split.test
    users, items = test.users.values[test.user_rows()], test.items.values[test.item_rows()]
    differences = predict(models["network"], split.history("test"), users, items) - test.matrix.data
    counts, edges = np.histogram(differences, np.linspace(-4, 4, 41))
    assert look.errors.edges == pytest.approx(edges)
    assert look.errors.shares["network"] == pytest.approx(counts / len(test), rel=1e-3)
    assert set(look.errors.shares) == {"network"}


def test_clicks_have_no_errors():
    clicks = from_dense(np.ones((6, 5), np.float32))
    parts = random(clicks, test=0.3)
    model = build_model("bias").fit(parts.train, seed=0)
    assert look_closer([("bias", model)], parts, relevant_at=None, cold="popular", candidates=None, titles={}).errors is None


def test_the_explorer_shows_lists_as_they_are_recommended(look, split, models):
    explorer, history = look.explorer, split.history("test")
    assert (len(explorer.users), explorer.relevant_users, explorer.in_time) == (SHOWN, 60, True)
    titles = dict(explorer.items)
    assert (titles["i1"], titles["i2"]) == ("One", None)
    ids = [one for one, _ in explorer.items]
    for user in explorer.users[:5]:
        for label, model in models.items():
            frame = recommend(model, history, [user.id], K).to_frame()
            assert [ids[place] for place in user.lists[label].items] == frame["item_id"].tolist()
        row = int(split.test.users.rows([user.id])[0])
        own = history.matrix[[row]].indices
        latest = own[np.argsort(-history.times[history.matrix.indptr[row] : history.matrix.indptr[row + 1]])][:HISTORY]
        assert [ids[place] for place, _ in user.history] == history.items.values[latest].tolist()
        relevant = split.test.items.values[split.test.matrix[[row]].indices]
        assert sorted(ids[place] for place in user.relevant) == sorted(relevant)


@pytest.mark.parametrize("label", ["ease", "network"])
def test_reasons_are_the_largest_contributions(look, split, models, label):
    explorer, history = look.explorer, split.history("test")
    ids = [one for one, _ in explorer.items]
    user = next(user for user in explorer.users if user.lists[label].why is not None)
    for place, why in zip(user.lists[label].items[:3], user.lists[label].why, strict=False):
        expected = explain(models[label], history, user.id, ids[place]).dropna().head(3)
        expected = expected[expected["contribution"] > 0]
        assert sorted(ids[one] for one, _ in why) == sorted(expected["item_id"])
        assert [value for _, value in why] == pytest.approx(expected["contribution"].tolist(), rel=1e-3)


def test_what_items_have_without_any_history_is_shown(look, split, models):
    explorer, history = look.explorer, split.history("test")
    ids = [one for one, _ in explorer.items]
    user = next(user for user in explorer.users if user.lists["ease"].why)
    listed = user.lists["ease"]
    for place, constant in zip(listed.items[:3], listed.constants, strict=False):
        (last,) = explain(models["ease"], history, user.id, ids[place]).query("item_id.isna()")["contribution"]
        assert constant == pytest.approx(last, rel=1e-3)
    assert user.lists["network"].constants is None


def test_models_are_explained_as_far_as_they_can_be(look):
    assert look.explorer.explained == {"ease": "weights", "network": "left out", "popularity": "independent"}
    assert all(user.lists["popularity"].why is None for user in look.explorer.users)
    assert all(user.lists["ease"].why is not None for user in look.explorer.users)
    assert any(user.lists["network"].why is None for user in look.explorer.users)  # it would take long


def test_it_is_said_why_lists_are_not_explained(split, models, monkeypatch):
    from recsys_ae.experiment import closer_look

    def page(model):
        found = look_closer([("one", model)], split, relevant_at=None, cold="popular", candidates=None, titles={})
        assert all(user.lists["one"].why is None for user in found.explorer.users)
        _, why = explorer_blocks(found.explorer)[0].lines
        return why

    assert page(models["popularity"]).endswith("because no single item of the history adds to the score of a listed item.")
    monkeypatch.setattr(closer_look, "contributions", Mock(side_effect=ColdUserError("who?")))
    assert page(models["network"]).endswith("because users cannot be scored without a part of their history.")
    monkeypatch.setattr(closer_look, "SCORINGS", 3)
    assert "because leaving out each item of these long histories" in page(models["network"])
    monkeypatch.setattr(closer_look, "scorable", Mock(return_value=np.zeros(SHOWN, bool)))
    assert page(models["network"]).endswith("because none of these users can be scored.")


def test_the_data_is_described(split):
    found, dense = training_data(split.train), split.train.matrix.toarray() != 0
    of_items = np.sort(dense.sum(axis=0))[::-1]
    assert (found.users, found.items, found.interactions) == (60, 25, dense.sum())
    assert found.density == pytest.approx(dense.mean())
    assert (found.median_user, found.median_item) == (np.median(dense.sum(axis=1)), np.median(of_items))
    running = np.cumsum(of_items) / dense.sum()
    assert found.tail[0] == (0, 0)
    assert [share for _, share in found.tail[1:]] == pytest.approx(running, rel=1e-3)
    assert found.half == pytest.approx((np.flatnonzero(running >= 0.5)[0] + 1) / 25, rel=1e-3)
    assert sum(found.ratings.values()) == dense.sum()
    assert not found.counts
    grid = np.array(found.grid)
    assert grid.shape == (32, 25)
    assert grid[0].mean() > grid[-1].mean()
    sizes = np.bincount(np.arange(60) * 32 // 60)
    assert (grid * sizes[:, None]).sum() == pytest.approx(dense.sum(), rel=1e-3)


def test_curves_and_origin_are_in_the_report(folder):
    report = json.loads((folder / "out/report.json").read_text())
    run = report["models"]["network"]["runs"]["0"]
    assert len(run["curves"][""]) == 4
    assert run["validation"] == "valid_rmse"
    assert report["models"]["ease"]["runs"]["0"]["curves"] == {}
    assert report["origin"]["started"].endswith("Z")
    text = "".join(Parsed.of((folder / "out/report.html").read_text()).texts)
    assert report["origin"]["command"] in text
    assert (folder / "out/pipeline.yaml").read_text() in text


class Artifacts(Tracker, TrackedRun):
    """Keeps the names of artifacts."""

    id = None

    def __init__(self):
        self.names: list[str] = []

    def artifact(self, path, folder=None):
        self.names.append(path.name)

    def run(self, name, *, parent=None, resume=None):
        from contextlib import nullcontext

        return nullcontext(self)


def test_the_page_is_an_artifact_of_the_run(folder):
    tracker = Artifacts()
    run_in(folder, output="tracked", tracker=tracker)
    assert tracker.names.count("report.html") == 1


def test_a_failing_page_does_not_spoil_the_run(folder, monkeypatch, caplog):
    def fail(*_):
        raise MemoryError("of all things")

    monkeypatch.setattr(html_report, "write_html", fail)
    caplog.set_level("DEBUG", "recsys_ae")
    report = run_in(folder, output="failing")
    assert set(report.models) == {"ease", "network", "popularity"}
    assert (folder / "failing/report.json").exists()
    assert not (folder / "failing/report.html").exists()
    assert "report.html cannot be written: of all things; the results are complete without it" in caplog.text
    assert ", in fail" in caplog.text  # where it happened


def test_a_page_without_the_data_has_the_rest(folder, tmp_path, caplog):
    hostile_files(tmp_path)
    run_in(tmp_path)
    (tmp_path / "log.csv").write_text("user,item,stars,time\na,b,1,1\nb,c,2,3\n")
    page = rewrite_html(tmp_path / "out").read_text()
    assert "the page lacks what needs the data and the models" in caplog.text
    assert 'id="lists-data"' not in page
    assert 'id="results"' in page
    (tmp_path / "titles.csv").unlink()
    hostile_files(tmp_path)
    (tmp_path / "titles.csv").unlink()
    assert ["i1"] in lists_of(rewrite_html(tmp_path / "out").read_text())["items"]
    assert "items are shown without titles" in caplog.text


def test_a_bug_in_a_page_that_is_written_again_is_seen(folder, monkeypatch):
    """No results are at risk then, unlike at the end of a run."""

    def broken(*_):
        raise AttributeError("a bug")

    monkeypatch.setattr(RatingTask, "closer_look", broken)
    with pytest.raises(AttributeError, match="a bug"):
        rewrite_html(folder / "out")


@pytest.mark.parametrize(
    ("titles", "changed", "message"),
    [
        ({"title": "name"}, None, "column 'name'"),
        ({"path": "gone.csv"}, None, "no file gone.csv"),
        ({}, "key,called\ni1,One\ni1,Two\n", "a repeated id"),
        ({}, "key,called\nSKU-1,One\n", "no title belongs to an item of the data: its titles are of 'SKU-1' and others"),
    ],
)
def test_wrong_titles_are_found_before_anything_is_trained(tmp_path, titles, changed, message):
    hostile_files(tmp_path)
    pipeline = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    pipeline["dataset"]["titles"] |= titles
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(pipeline, allow_unicode=True))
    if changed is not None:
        (tmp_path / "titles.csv").write_text(changed)
    with pytest.raises(DataError, match=message):
        run_in(tmp_path)
    assert not (tmp_path / "out").exists()


def test_titles_are_read_once(tmp_path, monkeypatch):
    from recsys_ae.experiment import titles

    hostile_files(tmp_path)
    monkeypatch.setattr(titles, "read_titles", read := Mock(wraps=titles.read_titles))
    run_in(tmp_path)
    assert read.call_count == 1
    assert "Title 4" in (tmp_path / "out/report.html").read_text()


def test_the_command(folder, call, tmp_path):
    code, out, _ = call("report", folder / "out")
    assert (code, out.strip()) == (0, str(folder / "out/report.html"))
    code, _, err = call("report", tmp_path)
    assert code == 1
    assert "holds no finished run: report.json is missing; give the --output of a run" in err


@pytest.mark.parametrize(
    "changes",
    [
        {"split": {"kind": "user_holdout", "test": 0.2, "valid": 0.1}, "cold": "skip", "relevant_at": 3},
        {"split": {"kind": "leave_last", "test": 1, "valid": 1}, "candidates": {"n": 5}, "seed": [0, 1]},
        {"split": {"kind": "time_cut", "test": 0.2, "repeats": "wanted"}, "positive_at": 3, "metrics": ["ndcg@5"]},
    ],
)
def test_pages_under_other_protocols(changes, tmp_path, caplog):
    hostile_files(tmp_path)
    pipeline = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**pipeline, **changes}, allow_unicode=True))
    run_in(tmp_path, "other")
    page = (tmp_path / "out/report.html").read_text()
    assert "cannot be" not in caplog.text
    Parsed.of(page).check_safe()
    assert lists_of(page)["models"] == ["ease", "network", "popularity"]


def test_a_page_of_sessions(tmp_path: Path, caplog):
    dataset = {"name": "log", "kind": "planted-sessions", "users": 60, "items": 12, "sessions": 4}
    models = [{"name": "slist"}, {"name": "popularity"}]
    content = {"dataset": dataset, "split": {"kind": "last_session"}, "models": models, "metrics": ["ndcg@5"]}
    (tmp_path / "sessions.yaml").write_text(yaml.safe_dump(content))
    run_in(tmp_path, "sessions")
    assert "cannot be" not in caplog.text
    assert len(lists_of((tmp_path / "out/report.html").read_text())["users"]) == SHOWN
