import pandas as pd
import pytest
from hypothesis import given, strategies as st

from recsys_ae import IdMap, ids as ids_module
from recsys_ae.errors import DataError, UnknownIdError
from recsys_ae.ids import spelling_hint

ids = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=1, unique=True), st.lists(st.text(min_size=1), min_size=1, unique=True)
)


class TestIdMap:
    @given(ids)
    def test_rows_and_values_are_inverse(self, external):
        ids = IdMap(external)
        assert ids.rows(external).tolist() == list(range(len(external)))
        assert ids.values.tolist() == external

    def test_unknown_id_is_named(self):
        with pytest.raises(UnknownIdError, match=r"unknown id 9 \(1 of 2"):
            IdMap([3, 5]).rows([5, 9])

    def test_find_says_minus_one(self):
        assert IdMap(["a", "b"]).find(["b", "c"]).tolist() == [1, -1]

    @pytest.mark.parametrize(("known", "asked"), [([1, 2], ["1"]), (["1", "2"], [1])])
    def test_id_of_another_type_is_refused(self, known, asked):
        with pytest.raises(DataError, match=r"expected ids that are (integers|text), such as"):
            IdMap(known).find(asked)

    @pytest.mark.parametrize("bad", [[1, "a"], [1.5, 2.0], [True, False], [None, "a"], [1, 1]])
    def test_ids_must_be_unique_and_of_one_type(self, bad):
        with pytest.raises(DataError):
            IdMap(bad)

    def test_digest_distinguishes_types_and_boundaries(self):
        assert len({IdMap([1]).digest, IdMap(["1"]).digest, IdMap(["ab", "c"]).digest, IdMap(["a", "bc"]).digest}) == 4


KNOWN = IdMap(["000245", "007", " anna", "x1", "0"])


@pytest.mark.parametrize(
    ("asked", "known"),
    [("245", "000245"), ("245.0", "000245"), (" 000245 ", "000245"), ("7", "007"), ("anna", " anna"), ("00", "0")],
)
def test_a_known_id_in_another_spelling_is_recognised(asked, known):
    hint = f"; 1 of them differs from a known id only in leading zeros, '.0' or spaces, such as {asked!r} from {known!r}"
    assert spelling_hint(pd.Index(["new", asked, asked]), KNOWN) == hint
    with pytest.raises(UnknownIdError, match="differs from a known id only in leading zeros"):
        KNOWN.rows(["x1", asked])


@pytest.mark.parametrize("asked", [["x01"], ["2450"], ["245.5"], ["-7"], []])
def test_other_ids_are_not_spellings_of_known_ones(asked):
    assert spelling_hint(pd.Index(asked, dtype="str"), KNOWN) == ""


@pytest.mark.parametrize(("asked", "known"), [("7", "7.0"), ("0", "00"), ("0", " 0.00"), ("07", "7"), ("7.0", "07.000 ")])
def test_known_ids_may_be_those_that_a_program_has_changed(asked, known):
    assert spelling_hint(pd.Index([asked]), IdMap(["a.01", known])).endswith(f"such as {asked!r} from {known!r}")


def test_patterns_are_searched_in_few_of_many_known_ids(monkeypatch):
    sizes, plain = [], ids_module._plain
    monkeypatch.setattr(ids_module, "_plain", lambda texts: sizes.append(len(texts)) or plain(texts))
    assert "from 'u7 '" in spelling_hint(pd.Index(["u7", "x"]), IdMap([f"u{number} " for number in range(1000)]))
    assert sizes == [2, 1]


def test_integers_have_one_spelling():
    assert spelling_hint(pd.Index([3]), IdMap([1, 2])) == ""
