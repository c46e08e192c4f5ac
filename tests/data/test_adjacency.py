import gzip
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings, strategies as st

from recsys_ae.data import adjacency
from recsys_ae.data.adjacency import read_adjacency
from recsys_ae.data.cards import RatingsCard, declared_folder, read_card
from recsys_ae.data.ratings import load_given_split, load_ratings
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.experiment.pipeline_file import ratings_card

CARD = """
name: graph
kind: ratings
splits:
  paper: {format: adjacency, train: train.txt, test: test.txt}
"""

SAMPLE = CARD.replace("train.txt", "adjacency-train.txt").replace("test.txt", "adjacency-test.txt")


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """Three users and four items; user 2 is not tested, item 9 only tested."""
    monkeypatch.delenv("RECSYS_AE_DATA", raising=False)
    (tmp_path / "card.yaml").write_text(CARD)
    (tmp_path / "train.txt").write_text("0 7 8\n1 8\n2 5 7\n")
    (tmp_path / "test.txt").write_text("0 9\n1 7 5 \n2\n")
    return read_card(str(tmp_path / "card.yaml"))


def rows(frame: pd.DataFrame) -> list[tuple]:
    return list(frame[["user_id", "item_id"]].itertuples(index=False, name=None))


def test_a_split_of_adjacency_lists(paper):
    split = load_given_split(*paper, "paper")
    assert rows(split.train.to_frame()) == [(0, 7), (0, 8), (1, 8), (2, 5), (2, 7)]
    assert rows(split.test.to_frame()) == [(0, 9), (1, 5), (1, 7)]
    assert split.train.items.values.tolist() == [5, 7, 8, 9]
    assert set(split.everything.matrix.data) == {1.0}


def test_the_samples():
    card = RatingsCard.model_validate(yaml.safe_load(SAMPLE) | {"folder": str(declared_folder("datasets") / "samples")})
    split = load_given_split(card, Path(), "paper")
    assert rows(split.train.to_frame()) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 3), (2, 0), (2, 4)]
    assert rows(split.test.to_frame()) == [(0, 3), (2, 1), (2, 2)]


def test_both_parts_are_the_whole_data_of_a_card_without_files(paper):
    whole = load_ratings(*paper).interactions
    assert whole.digest == load_given_split(*paper, "paper").everything.digest
    with pytest.raises(ConfigError, match="has no file of ratings"):
        ratings_card(str(paper[1] / "card.yaml"))


@pytest.mark.parametrize(
    ("content", "pairs"),
    [
        (b"1 2 3", [(1, 2), (1, 3)]),
        (b"\xef\xbb\xbf1  2\t3 \r\n\r\n  4 5\r\n", [(1, 2), (1, 3), (4, 5)]),
        (b"1 2\r3 4\r", [(1, 2), (3, 4)]),
        (b"1 2\n2\n1 3\n", [(1, 2), (1, 3)]),
        (b"1 2\nx 3\n", [("1", 2), ("x", 3)]),
        ("ä ö 1\n".encode(), [("ä", "ö"), ("ä", "1")]),
        (b"1 2 2\n", [(1, 2), (1, 2)]),
    ],
)
def test_what_is_read(tmp_path, content, pairs):
    path = tmp_path / "train.txt"
    path.write_bytes(content)
    assert rows(read_adjacency(path)) == pairs


def test_compressed(tmp_path):
    path = tmp_path / "train.txt.gz"
    path.write_bytes(gzip.compress(b"1 2\n3 4 5\n", mtime=0))
    assert rows(read_adjacency(path)) == [(1, 2), (3, 4), (3, 5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no data: no user has an item"),
        (b"1\n2\n", "there is no data: no user has an item; a line is a user and their items, separated by blanks"),
        (b"1 2\n2 x 3\n", r"train.txt, line 2: item 'x' is not an integer \(declare ids: {item: str}.*\): '2 x 3'"),
        (b"1 2\n\n01 3\n", r"train.txt, line 3: user '01' is not an integer of 64 bits in plain digits .*: '01 3'"),
        (b"1 2\nx\n3 y\n", r"train.txt, line 2: user 'x' is not an integer .*: 'x'"),
        (b"1 2\n3 \xff4\n", r"train.txt, line 2: b'\\xff' is not UTF-8; convert the file"),
        (b"1 2\0\n", "train.txt: not text: it has a NUL or unit separator; convert the file to UTF-8"),
        ("1 2\n".encode("utf-16"), "not text"),
        (gzip.compress(b"1 2\n", mtime=0), "this is a gzip file; name it .gz"),
        (b"PK\x03\x04 1 2", "this is a zip archive"),
    ],
)
def test_damage_has_a_line(tmp_path, content, message):
    path = tmp_path / "train.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_adjacency(path, {"user": "int", "item": "int"})
    with pytest.raises(DataError, match="there is no file"):
        read_adjacency(tmp_path / "absent.txt")


def test_repeated_pairs_need_a_policy(paper, tmp_path):
    (tmp_path / "train.txt").write_text("0 7 7\n")
    with pytest.raises(DataError, match="user 0 and item 7 occur together more than once"):
        load_given_split(*paper, "paper")
    (tmp_path / "card.yaml").write_text(CARD + "duplicates: max\n")
    assert len(load_given_split(*read_card(str(tmp_path / "card.yaml")), "paper").train) == 1


LIST = "format: adjacency, train: train.txt, test: test.txt"
MASKS = "format: matlab, file: x.mat, train_mask: A, test_mask: B, matrix: "
IDS = st.integers(-(2**63), 2**63 - 1).map(str) | st.text("abc_-.ö:", min_size=1, max_size=4)


@pytest.mark.parametrize("block", [1, 2, adjacency.LINES])
@settings(deadline=None, max_examples=60)
@given(
    lists=st.lists(st.tuples(IDS, st.lists(IDS, max_size=5), st.booleans()), min_size=1, max_size=8),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_round_trip(tmp_path_factory, block, lists, end):
    path = tmp_path_factory.mktemp("lists") / "train.txt"
    path.write_bytes("".join(" ".join([user, *items]) + end * (1 + gap) for user, items, gap in lists).encode())
    expected = [(user, item) for user, items, _ in lists for item in items]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adjacency, "LINES", block)
        if not expected:
            with pytest.raises(DataError, match="there is no data"):
                read_adjacency(path)
            return
        found = read_adjacency(path)
    assert [(str(user), str(item)) for user, item in rows(found)] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("format: adjacency, ", ""), "key `files` is missing; only a card whose `splits` have a `format` of their own"),
        (("adjacency", "lists"), "format: expected 'table', 'adjacency', 'npz' or 'matlab'"),
        ((", test: test.txt", ""), "a given split of format adjacency needs `train` and `test`"),
        ((", test: test.txt", ", test: test.txt, column: x"), "a given split of format adjacency needs `train` and `test`"),
        (("adjacency", "matlab"), "format matlab needs `file` and `matrix` and `train_mask` and `test_mask`"),
        ((LIST, MASKS + "A"), "must be three variables"),
        ((LIST, MASKS + "../M"), "matrix: expected text that matches"),
        ((LIST, "flags: a, column: b"), "key `files` is missing"),
        (("adjacency", "npz"), None),
        (("adjacency", "npz"), "numbered, so their `ids` cannot be str"),
        (("splits:\n  paper: {" + LIST + "}", ""), "key `files` is missing"),
    ],
)
def test_cards(paper, change, message):
    path = paper[1] / "card.yaml"
    path.write_text(CARD.replace(*change) + ("ids: {user: str}\n" if message and "numbered" in message else ""))
    if message is None:
        assert read_card(str(path))[0].splits["paper"].format == "npz"
        return
    with pytest.raises(ConfigError, match=message):
        read_card(str(path))
