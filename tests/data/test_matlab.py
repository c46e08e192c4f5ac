import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from matrix_files import write_matlab
from scipy.sparse import csc_array

from recsys_ae.data import reading
from recsys_ae.data.cards import read_card
from recsys_ae.data.matlab import read_masked
from recsys_ae.data.ratings import load_given_split
from recsys_ae.errors import DataError

CARD = """
name: monti
kind: ratings
scale: [1, 5]
splits:
  paper: {format: matlab, file: data.mat, matrix: M, train_mask: Otraining, test_mask: Otest}
"""
RATINGS = np.array([[5.0, 0, 3, 0], [0, 1, 0, 2], [4, 0, 0, 0]])  # 3 users, 4 items
TRAIN = np.array([[1.0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]])
TEST = np.array([[0.0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]])


def triples(found) -> list[tuple]:
    return sorted(found.frame().itertuples(index=False, name=None))


@pytest.mark.parametrize(
    "make", [np.asarray, csc_array, lambda dense: dense.astype(np.uint8), lambda dense: dense.astype(np.float32)]
)
def test_masks_divide_the_ratings_of_users_and_items(tmp_path, monkeypatch, make):
    monkeypatch.delenv("RECSYS_AE_DATA", raising=False)
    (tmp_path / "card.yaml").write_text(CARD)
    write_matlab(tmp_path / "data.mat", M=make(RATINGS), Otraining=make(TRAIN), Otest=make(TEST), W=np.eye(2))
    split = load_given_split(*read_card(str(tmp_path / "card.yaml")), "paper")
    train, test = (list(part.to_frame().itertuples(index=False, name=None)) for part in (split.train, split.test))
    assert train == [(0, 0, 5), (1, 1, 1), (1, 3, 2)]
    assert test == [(0, 2, 3), (2, 0, 4)]
    assert (split.train.users.kind, split.train.scale) == ("int", (1, 5))


def test_masked_zeros_are_ratings_and_unmasked_entries_are_not(tmp_path):
    """Entry (2, 1) is 0 but masked; NaN marks what is unobserved."""
    ratings, train = RATINGS.copy(), TRAIN.copy()
    ratings[0, 1], train[2, 1] = np.nan, 1
    known, asked = read_masked(write_matlab(tmp_path / "a.mat", M=ratings, A=train, B=TEST), "M", "A", "B")
    assert triples(known) == [(0, 0, 5), (1, 1, 1), (1, 3, 2), (2, 1, 0)]
    assert triples(asked) == [(0, 2, 3), (2, 0, 4)]


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 5)), seed=st.integers(0, 10**6), sparse=st.tuples(*[st.booleans()] * 3)
)
def test_round_trip(tmp_path_factory, shape, seed, sparse):
    rng = np.random.default_rng(seed)
    ratings, part = rng.integers(-2, 3, shape).astype(float), rng.integers(0, 4, shape)
    matrices = {"M": ratings, "A": (part == 1).astype(float), "B": (part == 2).astype(float)}
    stored = {name: csc_array(matrix) if one else matrix for (name, matrix), one in zip(matrices.items(), sparse, strict=True)}
    both = read_masked(write_matlab(tmp_path_factory.mktemp("mat") / "a.mat", **stored), "M", "A", "B")
    for number, found in enumerate(both, 1):
        assert triples(found) == [(*place, ratings[place]) for place in zip(*np.nonzero(part == number), strict=True)]


CASES = [
    ({"Otest": TEST + TRAIN}, "3 entries are in Otraining and Otest; masks must not overlap"),
    ({"Otest": 2 * TEST}, r"Otest is 2.0 in row \d, column \d; masks hold 0 and 1"),
    ({"Otest": csc_array(-TEST)}, r"Otest is -1.0 in row \d, column \d; masks hold 0 and 1"),
    ({"Otest": TEST * np.nan}, r"Otest is nan in row \d, column \d; masks hold 0 and 1"),
    ({"Otraining": TRAIN.T}, "Otraining has 4 x 3, but M has 3 x 4 entries; all must be users x items"),
    ({"M": RATINGS[0]}, "M has 1 dimensions, expected a matrix"),
    ({"M": RATINGS.astype("S1")}, r"M holds \|S1, expected numbers"),
    ({"M": RATINGS * 1j}, "M holds complex128, expected numbers"),
    ({"M": None}, "it has no variable 'M'; known are: Otest, Otraining"),
]


@pytest.mark.parametrize(("change", "message"), CASES)
def test_wrong_content(tmp_path, change, message):
    variables = {"M": RATINGS, "Otraining": TRAIN, "Otest": TEST, **change}
    path = write_matlab(tmp_path / "a.mat", **{name: value for name, value in variables.items() if value is not None})
    with pytest.raises(DataError, match=f"a.mat: {message}"):
        read_masked(path, "M", "Otraining", "Otest")


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (1e10, "10000000000.0")])
def test_ratings_are_finite(tmp_path, value, shown):
    ratings = np.where(RATINGS == 5, value, RATINGS)
    known, asked = read_masked(write_matlab(tmp_path / "a.mat", M=ratings, A=TRAIN, B=TEST), "M", "A", "B")
    assert len(asked.frame()) == 2
    with pytest.raises(DataError, match=f"the rating of user 0 and item 0 is {shown}, but ratings must be finite"):
        known.frame()


def damage(path, do) -> None:
    with h5py.File(path, "r+") as file:
        do(file)


def link(file, target) -> None:
    del file["M"]
    file["M"] = target


def virtual(file) -> None:
    del file["M"]
    layout = h5py.VirtualLayout((4, 3), "f8")
    layout[:] = h5py.VirtualSource("other.mat", "M", (4, 3))
    file.create_virtual_dataset("M", layout)


def external(file) -> None:
    del file["M"]
    file.create_dataset("M", (4, 3), "f8", external=[("/etc/hostname", 0, 96)])


def huge(file) -> None:
    del file["M"]
    file.create_dataset("M", (10**6, 10**6), "f8", chunks=(100, 100), compression="gzip")


def without_size(file) -> None:
    del file["S"].attrs["MATLAB_sparse"]


def put(name: str, value):
    def do(file) -> None:
        del file["S"][name]
        file["S"][name] = value

    return do


DAMAGE = [
    (lambda file: link(file, h5py.ExternalLink("other.mat", "M")), "M", "M is stored in another file; save it in this one"),
    (lambda file: link(file, h5py.SoftLink("/Otest")), "M", "M is stored in another file"),
    (lambda file: link(file, h5py.SoftLink("/nowhere")), "M", "M is stored in another file|has no variable 'M'"),
    (virtual, "M", "M is stored in another file; save it in this one"),
    (external, "M", "M is stored in another file; save it in this one"),
    (huge, "M", "M takes 8000000000000 bytes, over 200 times the size of the file; save it as a sparse matrix"),
    (without_size, "S", "S does not say how many rows it has"),
    (put("jc", np.array([0, 2, 1, 4, 5])), "S", "it is damaged: indptr does not say where each of 4 columns begins"),
    (put("jc", np.array([0.5, 1])), "S", "indptr holds 1-dimensional float64, expected a list of integers"),
    (put("ir", np.array([0, 2, 1, 9, 1])), "S", "it is damaged: an entry is in row 9, but there are 3 rows"),
    (put("ir", np.array([0, 0, 1, 0, 1])), "S", "it is damaged: S holds an entry twice"),
    (put("data", np.ones(4)), "S", "it is damaged: it has 5 rows, 5 columns and 4 values"),
    (lambda file: file["S"].pop("jc"), "S", "S is a structure, expected a matrix"),
    (lambda file: file["S"].attrs.__setitem__("MATLAB_sparse", np.uint64(2**62)), "S", "more than can be numbered"),
]


@pytest.mark.parametrize(("do", "name", "message"), DAMAGE)
def test_hostile_files(tmp_path, do, name, message):
    path = write_matlab(tmp_path / "a.mat", M=RATINGS, S=csc_array(RATINGS), Otraining=TRAIN, Otest=TEST)
    write_matlab(tmp_path / "other.mat", M=RATINGS)
    damage(path, do)
    with pytest.raises(DataError, match=message):
        read_masked(path, name, "Otraining", "Otest")


def test_dense_matrices_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("recsys_ae.data.matrices.FREE_EXPANSION", 0)
    path = write_matlab(tmp_path / "a.mat", M=np.zeros((2000, 3000)), Otraining=TRAIN, Otest=TEST)
    with pytest.raises(DataError, match=f"M takes 48000000 bytes, over {reading.EXPANSION} times the size of the file"):
        read_masked(path, "M", "Otraining", "Otest")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not a file of MATLAB v7.3; in MATLAB, save it with"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(400), "it is not a file of MATLAB v7.3"),
        (None, "it is damaged: "),
    ],
)
def test_other_files(tmp_path, content, message):
    path = write_matlab(tmp_path / "a.mat", M=RATINGS, Otraining=TRAIN, Otest=TEST)
    path.write_bytes(path.read_bytes()[:1500] if content is None else content)
    with pytest.raises(DataError, match=f"a.mat: {message}"):
        read_masked(path, "M", "Otraining", "Otest")
    with pytest.raises(DataError, match="there is no file"):
        read_masked(tmp_path / "absent.mat", "M", "Otraining", "Otest")
