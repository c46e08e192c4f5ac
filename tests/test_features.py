import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from builders import ITEMS, USERS, planted
from hypothesis import given, settings, strategies as st

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.features import FeatureTable, LabelFeature, ScaledFeature
from recsys_ae.fitted import Fitted
from recsys_ae.ids import IdMap
from recsys_ae.interactions import Interactions

KINDS = {"age": "numeric", "job": "category", "genres": "multi_label", "since": "date"}
FRAME = pd.DataFrame(
    {
        "id": [7, 3, 9, 4],
        "age": [20.0, 40.0, np.nan, 30.0],
        "job": ["writer", "artist", None, ""],
        "genres": [["war", "comedy"], [], None, ("war", "war")],
        "since": pd.to_datetime(["1970-01-03", None, "1970-01-01", "1970-01-03 12:00"], format="ISO8601"),
    }
)


def encoded(table: FeatureTable) -> pd.DataFrame:
    return table.to_frame().sparse.to_dense()


def test_how_each_kind_is_encoded():
    table = encoded(FeatureTable.from_frame(FRAME, KINDS))
    days, step = (2 + 0 + 2.5) / 3, np.std([2, 0, 2.5])
    expected = {
        "age": [-np.sqrt(1.5), np.sqrt(1.5), 0, 0],
        "age:missing": [0, 0, 1, 0],
        "job=artist": [0, 1, 0, 0],
        "job=writer": [1, 0, 0, 0],
        "job:unknown": [0, 0, 0, 0],
        "job:missing": [0, 0, 1, 1],
        "genres=comedy": [1, 0, 0, 0],
        "genres=war": [1, 0, 0, 1],
        "genres:unknown": [0, 0, 0, 0],
        "genres:missing": [0, 0, 1, 0],
        "since": [(2 - days) / step, 0, (0 - days) / step, (2.5 - days) / step],
        "since:missing": [0, 1, 0, 0],
    }
    assert list(table.columns) == list(expected)
    np.testing.assert_allclose(table.to_numpy(), np.array(list(expected.values())).T, rtol=1e-6)
    assert table.index.tolist() == [7, 3, 9, 4]


def test_columns_have_kinds():
    kinds = FeatureTable.from_frame(FRAME, KINDS).columns
    assert kinds["age:missing"] == "numeric"
    assert kinds["genres=war"] == "multi_label"


def test_values_not_seen_in_fitting_are_unknown():
    fitted = FeatureTable.from_frame(FRAME, KINDS)
    new = pd.DataFrame(
        {
            "id": [1, 2],
            "age": [50, 30],
            "job": ["pilot", "artist"],
            "genres": [["war", "opera", "ballet"], ["comedy"]],
            "since": pd.to_datetime(["2026-01-01", None]),
        }
    )
    table = FeatureTable.from_frame(new, fitted.features)
    assert table.columns == fitted.columns
    frame = encoded(table)
    assert frame["age"].tolist() == pytest.approx([2 * np.sqrt(1.5), 0])
    assert frame.filter(like="job").to_numpy().tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    assert frame.filter(like="genres").to_numpy().tolist() == [[0, 1, 1, 0], [1, 0, 0, 0]]


def test_fitted_on_the_given_ids_only():
    table = FeatureTable.from_frame(FRAME, KINDS, fit_ids=IdMap([7, 3]))
    assert table.features[:2] == (
        ScaledFeature("age", "numeric", 30.0, 10.0),
        LabelFeature("job", "category", ("artist", "writer")),
    )
    only_artist = FeatureTable.from_frame(FRAME, {"job": "category"}, fit_ids=IdMap([3]))
    assert encoded(only_artist).loc[7].tolist() == [0, 1, 0]


def test_dropped_rows_are_not_fitted_on():
    table = FeatureTable.from_frame(FRAME, {"age": "numeric"}, ids=IdMap([3, 4, 11]))
    assert table.features == (ScaledFeature("age", "numeric", 35.0, 5.0),)
    assert encoded(table).to_numpy().tolist() == [[1, 0], [-1, 0], [0, 1]]


def test_equal_and_absent_values():
    frame = pd.DataFrame({"id": ["a", "b"], "x": [4, 4], "y": [np.nan, np.nan], "z": [None, None]})
    table = FeatureTable.from_frame(frame, {"x": "numeric", "y": "numeric", "z": "category"})
    assert encoded(table).to_numpy().tolist() == [[0, 0, 0, 1, 0, 1]] * 2
    assert np.diff(table.matrix.indptr).tolist() == [3, 3]  # a known value that is scaled to 0 is stored


def test_dates_of_every_unit_and_zone_are_the_same_day():
    texts = ["1995-01-01", "1997-06-30", "1999-12-31"]
    columns = [pd.Series(pd.to_datetime(texts)).dt.as_unit(unit) for unit in ("s", "ms", "us", "ns")]
    columns.append(columns[0].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    digests = {FeatureTable.from_frame(pd.DataFrame({"id": [1, 2, 3], "d": one}), {"d": "date"}).digest for one in columns}
    assert len(digests) == 1


def test_categories_may_be_integers_or_categorical():
    jobs = pd.Series([10, 2, 10])
    frame = pd.DataFrame({"id": [1, 2, 3], "a": jobs, "b": jobs.astype("category"), "c": jobs.astype("Int64")})
    table = encoded(FeatureTable.from_frame(frame, dict.fromkeys("abc", "category")))
    for name in "abc":
        assert table[f"{name}=10"].tolist() == [1, 0, 1]


class TestAlign:
    table = FeatureTable.from_frame(FRAME, KINDS)

    def test_ids_without_features_are_missing(self):
        frame = encoded(self.table.align(IdMap([100, 3])))
        ones = ["age:missing", "genres:missing", "job:missing", "since:missing"]
        assert sorted(frame.columns[frame.loc[100] == 1]) == ones
        assert frame.loc[100].sum() == 4
        assert frame.loc[3].equals(encoded(self.table).loc[3])

    @settings(deadline=None)
    @given(st.permutations([7, 3, 9, 4, 20, 21]))
    def test_round_trip_through_a_frame(self, order):
        wider = self.table.align(IdMap(order))
        assert wider.align(self.table.ids).digest == self.table.digest
        assert wider.ids.values.tolist() == order

    def test_ids_of_another_type(self):
        with pytest.raises(DataError, match="expected ids that are integers, such as"):
            self.table.align(IdMap(["7"]))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(-1e6, 1e6),
            st.none() | st.text("ab", max_size=2),
            st.none() | st.lists(st.text("abc", max_size=2)),
        ),
        min_size=1,
        max_size=12,
    ),
    st.randoms(),
)
def test_row_order_does_not_matter(values, random):
    frame = pd.DataFrame(values, columns=["n", "c", "m"]).assign(id=range(len(values)))
    frame["n"] = frame["n"].astype(float)
    kinds = {"n": "numeric", "c": "category", "m": "multi_label"}
    ids = IdMap(list(range(len(values))))
    shuffled = frame.iloc[random.sample(range(len(values)), len(values))]
    table = FeatureTable.from_frame(frame, kinds)
    assert FeatureTable.from_frame(shuffled, kinds, ids=ids).digest == table.digest
    for row, (number, category, labels) in zip(encoded(table).to_dict("records"), values, strict=True):
        assert row["n:missing"] == (number is None)
        assert row["c:missing"] == (category in (None, ""))
        assert {name.removeprefix("m=") for name in row if name.startswith("m=") and row[name]} == set(labels or [])


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.text(min_size=1))
def test_a_category_is_unknown_or_has_a_column_never_both(seen, asked):
    fitted = FeatureTable.from_frame(pd.DataFrame({"id": range(len(seen)), "c": seen}), {"c": "category"})
    row = encoded(FeatureTable.from_frame(pd.DataFrame({"id": [0], "c": [asked]}), fitted.features)).iloc[0]
    assert row["c:unknown"] == (asked not in seen)
    assert row.sum() == 1


class TestStorage:
    table = FeatureTable.from_frame(FRAME, KINDS)

    @pytest.mark.parametrize("prefix", ["", "item_features/"])
    def test_round_trip_bit_for_bit(self, prefix, tmp_path):
        arrays, description = self.table.to_arrays(prefix)
        np.savez(tmp_path / "x.npz", **arrays)
        loaded = dict(np.load(tmp_path / "x.npz", allow_pickle=False))
        back = FeatureTable.from_arrays(self.table.ids, loaded, json.loads(json.dumps(description)), prefix)
        assert back.digest == self.table.digest
        assert back.features == self.table.features
        for name, array in back.to_arrays(prefix)[0].items():
            assert array.dtype == arrays[name].dtype
            assert array.tobytes() == arrays[name].tobytes()

    @pytest.mark.parametrize("ids", [[7, -3, 2**62, 4], ["7", "07", "é", "日本"]])
    def test_saved_with_a_model_bit_for_bit(self, ids, tmp_path):
        table = FeatureTable.from_frame(FRAME.assign(id=ids), KINDS)
        arrays, description = table.to_arrays("item_features/")
        model = Fitted({"weights": np.arange(3.0), **arrays}, {"items": table.ids}, {"item_features": description})
        model.save(tmp_path / "model", "ease", {})
        _, _, loaded = Fitted.load(tmp_path / "model")
        back = FeatureTable.from_arrays(loaded.ids["items"], loaded.arrays, loaded.meta["item_features"], "item_features/")
        assert back.ids.values.tolist() == ids
        assert back.ids == table.ids
        assert back.features == table.features
        assert back.digest == table.digest
        for name, array in back.to_arrays("item_features/")[0].items():
            assert array.dtype == arrays[name].dtype
            assert array.tobytes() == arrays[name].tobytes()

    def test_loaded_features_encode_as_before(self):
        arrays, description = self.table.to_arrays()
        back = FeatureTable.from_arrays(self.table.ids, arrays, json.loads(json.dumps(description)))
        assert FeatureTable.from_frame(FRAME, back.features).digest == self.table.digest

    @pytest.mark.parametrize(
        "change", [{"age": [21.0, 40.0, np.nan, 30.0]}, {"job": ["pilot", "artist", None, ""]}, {"id": [7, 3, 9, 5]}]
    )
    def test_the_digest_sees_ids_labels_and_values(self, change):
        assert FeatureTable.from_frame(FRAME.assign(**change), KINDS).digest != self.table.digest

    def test_a_table_that_does_not_fit_is_refused(self):
        with pytest.raises(DataError, match=r"has shape \(4, 12\), but its ids and columns have \(3, 12\)"):
            FeatureTable(IdMap([1, 2, 3]), self.table.matrix, self.table.features)


@pytest.mark.parametrize(
    ("change", "kinds", "error", "message"),
    [
        ({}, {"age": "number"}, ConfigError, "unknown kind 'number'; did you mean 'numeric'"),
        ({}, {"agee": "numeric"}, ConfigError, "no column 'agee'; did you mean 'age'"),
        ({"a=b": 1}, {"a=b": "numeric"}, ConfigError, "must not contain '='"),
        ({}, {}, ConfigError, "at least one feature"),
        ({"age": list("abcd")}, {"age": "numeric"}, DataError, "'age' must hold numbers"),
        ({"age": np.inf}, {"age": "numeric"}, DataError, "numbers up to 1e\\+30, got inf"),
        ({"age": [0, 1e-300, 2e-300, 1e30]}, {"age": "numeric"}, None, ""),
        ({"since": "1995-01-01"}, {"since": "date"}, DataError, "must hold dates"),
        ({"job": 1.5}, {"job": "category"}, DataError, "got floating values"),
        ({"job": ["a", 1, "b", 2]}, {"job": "category"}, DataError, "got mixed-integer values"),
        ({"genres": "war|comedy"}, {"genres": "multi_label"}, DataError, "lists of labels, got 'war|comedy'"),
        ({"id": [7, 3, 7, 4]}, KINDS, DataError, "7 occurs more than once"),
    ],
)
def test_wrong_frames(change, kinds, error, message):
    frame = FRAME.assign(**change)
    if error is None:
        assert np.isfinite(FeatureTable.from_frame(frame, kinds).matrix.data).all()
    else:
        with pytest.raises(error, match=message):
            FeatureTable.from_frame(frame, kinds)


def test_no_id_in_common():
    for options in ({"ids": IdMap([1, 2])}, {"fit_ids": IdMap([1])}):
        with pytest.raises(DataError, match="none of the ids is among the 4 ids with features"):
            FeatureTable.from_frame(FRAME, KINDS, **options)


def test_values_that_are_not_finite_after_scaling_are_refused():
    fitted = FeatureTable.from_frame(FRAME.assign(age=[0, 1e-30, 2e-30, 3e-30]), {"age": "numeric"})
    with pytest.raises(DataError, match="'age' of 3 is not a finite number after scaling"):
        FeatureTable.from_frame(FRAME.assign(age=[0, 1e20, 0, 0]), fitted.features)


ATTACHED = {
    "user_features": FeatureTable.from_frame(pd.DataFrame({"id": USERS.values, "age": range(12)}), {"age": "numeric"}),
    "item_features": FeatureTable.from_frame(pd.DataFrame({"id": ITEMS.values, "kind": list("aabbcab")}), {"kind": "category"}),
}


class TestInteractions:
    def both(self) -> Interactions:
        return replace(planted(), **ATTACHED)

    def test_they_stay_with_the_ids(self):
        data = self.both()
        keep = np.arange(len(data)) % 3 == 0
        for part in (data.filter(keep), data.binarise(4), data.filter(keep).union(data.filter(~keep))):
            assert part.user_features is ATTACHED["user_features"]
            assert part.item_features is ATTACHED["item_features"]

    def test_the_digest_sees_them(self):
        one_each = [replace(planted(), **{name: table}) for name, table in ATTACHED.items()]
        assert len({data.digest for data in [planted(), self.both(), *one_each]}) == 4

    @pytest.mark.parametrize(("name", "other"), [("user_features", "item_features"), ("item_features", "user_features")])
    def test_they_must_have_the_same_ids(self, name, other):
        with pytest.raises(DataError, match=f"{name} have other ids than the {name[:4]}s"):
            replace(planted(), **{name: ATTACHED[other]})
        table = ATTACHED[name]
        with pytest.raises(DataError, match="have other ids"):
            replace(planted(), **{name: table.align(IdMap(table.ids.values[::-1]))})
