"""Dated lists: readers of `latest` see lists that passed their checks, whatever is killed, repeated or refused."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import planted, random_interactions
from hypothesis import given, settings, strategies as st

from recsys_ae import Rules, build_model, read_recommendations
from recsys_ae.errors import ConfigError, OutputError
from recsys_ae.export import publication
from recsys_ae.export.local import export_request
from recsys_ae.export.publication import Checks, overlap, publish
from recsys_ae.export.request import ListRequest


@pytest.fixture(scope="module")
def model():
    return build_model("popularity", {}).fit(random_interactions())


@pytest.fixture
def night(model, tmp_path):
    """Publishes the lists of one night in `lists`."""

    def publish_lists(date: str, checks: Checks | None = None, keep: int | None = None, history=None, **options):
        request = ListRequest.of(model, random_interactions() if history is None else history, **{"k": 5, **options})
        return publish(lambda folder: export_request(request, folder), tmp_path / "lists", date, checks, keep)

    return publish_lists


def only(first: int, end: int) -> Rules:
    """Only the items in a range may be listed."""
    return Rules.of(random_interactions().items, candidates=list(range(first, end)))


def listing(root: Path) -> dict[str, str]:
    """What the folder of all dates shows, and where `latest` points."""
    return {path.name: os.readlink(path) if path.is_symlink() else "" for path in sorted(root.iterdir()) if path.name[0] != "."}


def test_latest_points_to_the_newest_night(night, tmp_path):
    root = tmp_path / "lists"
    for date in ("2026-11-25", "2026-11-26"):
        manifest = night(date, Checks(min_users=40, max_cold=0.0, min_overlap=1.0))
        assert read_recommendations(root / "latest")[0].equals(read_recommendations(root / date)[0])
        assert len(pd.read_parquet(root / "latest")) == manifest.rows
    assert listing(root) == {"2026-11-25": "", "2026-11-26": "", "latest": "2026-11-26"}
    night("2026-11-24")  # a night that was missed
    assert listing(root) == {"2026-11-24": "", "2026-11-25": "", "2026-11-26": "", "latest": "2026-11-26"}


def test_without_the_folder_behind_latest_the_newest_one_counts(night, tmp_path, caplog):
    root = tmp_path / "lists"
    night("2026-11-24", rules=only(104, 110))
    night("2026-11-25")
    shutil.rmtree(root / "2026-11-25")
    with pytest.raises(
        OutputError, match=r"users keep .* of the items of 2026-11-24, less than 99\.99% .*; latest stays 2026-11-24"
    ):
        night("2026-11-26", Checks(min_overlap=0.9999), rules=only(110, 124))
    assert os.readlink(root / "latest") == "2026-11-24"
    night("2026-11-23")  # a night that was missed
    assert os.readlink(root / "latest") == "2026-11-24"
    with caplog.at_level("INFO", "recsys_ae"):
        night("2026-11-26", Checks(min_overlap=1.0), rules=only(104, 110))
    assert "users keep 100% of the items of 2026-11-24" in caplog.text
    assert f"{root / 'latest'} points to 2026-11-26" in caplog.text


def test_a_repeated_night_succeeds(night, tmp_path, caplog):
    assert night("2026-11-26") == night("2026-11-26")
    with caplog.at_level("INFO", "recsys_ae"):
        night("2026-11-26", Checks(min_overlap=1.0))
    assert "is already complete" in caplog.text
    with pytest.raises(OutputError, match=r"already holds lists made from other inputs \(k\)"):
        night("2026-11-26", k=4)


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        (Checks(min_users=41), "40 users have a list, fewer than 41"),
        (Checks(max_cold=0.02), r"2\.5% of 40 users are cold, more than 2%"),
        (Checks(min_overlap=0.9), r"users keep 0% of the items of 2026-11-25, less than 90%"),
        (Checks(50, 0.0, 0.5), r"fewer than 50 .* and 2\.5% of .* and users keep"),
    ],
)
def test_lists_that_fail_a_check_are_not_published(night, tmp_path, checks, message):
    root, cold = tmp_path / "lists", random_interactions()
    cold = cold.filter(cold.user_rows() != 7)
    night("2026-11-25", rules=only(100, 110), exclude_seen=False)
    options = {"rules": only(110, 125), "history": cold, "exclude_seen": False}
    for _ in range(2):  # a retry of the scheduler
        with pytest.raises(
            OutputError, match=rf"2026-11-26\.unpublished is complete but not published: .*{message}.*2026-11-25$"
        ):
            night("2026-11-26", checks, **options)
        assert listing(root) == {"2026-11-25": "", "2026-11-26.unpublished": "", "latest": "2026-11-25"}
    night("2026-11-26", Checks(min_users=40), **options)
    assert listing(root) == {"2026-11-25": "", "2026-11-26": "", "latest": "2026-11-26"}


def test_unpublished_lists_are_replaced_by_better_ones(night, tmp_path):
    with pytest.raises(OutputError, match="not published"):
        night("2026-11-26", Checks(min_users=40), rules=only(100, 101))
    manifest = night("2026-11-26", Checks(min_users=40))
    assert listing(tmp_path / "lists") == {"2026-11-26": "", "latest": "2026-11-26"}
    assert read_recommendations(tmp_path / "lists" / "latest")[1] == 5 == manifest.k


@pytest.mark.parametrize("step", ["move", "_link_latest", "_remove_older"])
def test_the_same_command_recovers_from_a_kill_at_any_step(night, tmp_path, monkeypatch, step):
    root = tmp_path / "lists"
    night("2026-11-24")
    night("2026-11-25")

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publication, step, die)
        with pytest.raises(KeyboardInterrupt):
            night("2026-11-26", keep=2)
    assert len(read_recommendations(root / "latest")[0]) == 200
    night("2026-11-26", keep=2)
    assert listing(root) == {"2026-11-25": "", "2026-11-26": "", "latest": "2026-11-26"}


def test_only_old_dated_lists_are_removed(night, tmp_path):
    root = tmp_path / "lists"
    for day in (21, 22, 23):
        night(f"2026-11-{day}")
    others = ("2026-11-01", "notes", "2026-11-23.unpublished", "2026-11-24.unpublished.partial", "2026-11-19.shards")
    for other in (*others, "2026-11-18.unpublished", "2026-11-19.unpublished.partial"):
        (root / other).mkdir()  # without lists
    night("2026-11-20", keep=1)  # late, but it was asked for
    assert listing(root) == {**dict.fromkeys(others, ""), "2026-11-20": "", "2026-11-23": "", "latest": "2026-11-23"}
    night("2026-11-24", keep=1)
    assert listing(root) == {
        **dict.fromkeys(("2026-11-01", "notes", "2026-11-19.shards"), ""),
        "2026-11-24": "",
        "latest": "2026-11-24",
    }


@pytest.mark.parametrize("date", ["2026-11-31", "26-11-26", "2026-11-26T00", "../2026-11-26", "today", ""])
def test_invalid_dates(night, tmp_path, date):
    with pytest.raises(ConfigError, match="is not a date such as 2026-11-26"):
        night(date)
    assert not (tmp_path / "lists").exists()


def test_a_latest_that_is_no_link_is_left_alone(night, tmp_path):
    (tmp_path / "lists" / "latest").mkdir(parents=True)
    with pytest.raises(OutputError, match="latest is not a link to one of the dated folders"):
        night("2026-11-26")
    (tmp_path / "lists" / "latest").rmdir()
    (tmp_path / "lists" / "latest").symlink_to("2026-11-25")  # which somebody has removed
    night("2026-11-26")
    assert listing(tmp_path / "lists")["latest"] == "2026-11-26"


@pytest.mark.parametrize(("name", "value"), [("min_users", 0), ("max_cold", 1.1), ("min_overlap", -0.1), ("max_cold", np.nan)])
def test_invalid_checks(name, value):
    with pytest.raises(ConfigError, match=name):
        Checks(**{name: value})


def exported(model, folder: Path, history, **options) -> Path:
    export_request(ListRequest.of(model, history, **options), folder)
    return folder


@settings(max_examples=15)
@given(st.integers(0, 5), st.integers(1, 12), st.integers(1, 12), st.integers(1, 50))
def test_overlap_equals_that_of_a_slow_reference(tmp_path_factory, model, seed, k, before, part_users):
    folder, history = tmp_path_factory.mktemp("overlap"), random_interactions(seed)
    rows = np.random.default_rng(seed)
    users = history.users.values
    new = exported(model, folder / "new", history, k=k, users=rows.permutation(users)[:25], part_users=part_users)
    old = exported(model, folder / "old", random_interactions(), k=before, users=rows.permutation(users)[:30], cold="skip")
    lists = [read_recommendations(one)[0].groupby("user_id")["item_id"].agg(set) for one in (new, old)]
    common = [len(lists[0][user] & lists[1][user]) / len(lists[1][user]) for user in lists[1].index if user in lists[0].index]
    assert overlap(new, old) == pytest.approx(np.mean(common))


def test_overlap_of_many_users_is_that_of_a_sample(model, tmp_path, monkeypatch):
    monkeypatch.setattr(publication, "COMPARED_USERS", 3)
    data = random_interactions()
    one = exported(model, tmp_path / "one", data, k=5, part_users=7)
    assert overlap(one, one) == 1.0


def test_lists_without_common_users_do_not_overlap(model, tmp_path):
    data = random_interactions()
    one, other = (exported(model, tmp_path / name, data, k=5, users=[name]) for name in ("u01", "u02"))
    assert overlap(one, other) == 0.0
    integers = planted()
    numbers = exported(build_model("popularity", {}).fit(integers), tmp_path / "numbers", integers, k=2)
    assert overlap(one, numbers) == 0.0
