import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.sparse import bsr_array, coo_array, csc_array, csr_array, csr_matrix, save_npz

from recsys_ae.data.cards import read_card
from recsys_ae.data.matrices import read_npz
from recsys_ae.data.ratings import load_given_split, load_ratings
from recsys_ae.errors import DataError

CARD = """
name: matrices
kind: ratings
splits:
  paper: {format: npz, train: train.npz, test: test.npz}
"""
TRAIN = np.array([[5.0, 0, 3, 0], [0, 1, 0, 2], [0, 0, 0, 0]])  # 3 users, 4 items; only tested: user 2


def triples(path) -> list[tuple]:
    return sorted(read_npz(path).frame().itertuples(index=False, name=None))


@pytest.fixture
def paper(tmp_path, monkeypatch):
    monkeypatch.delenv("RECSYS_AE_DATA", raising=False)
    (tmp_path / "card.yaml").write_text(CARD)
    save_npz(tmp_path / "train.npz", csr_array(TRAIN))
    save_npz(tmp_path / "test.npz", coo_array(([4.0, 1.0], ([0, 2], [1, 3])), shape=(3, 4)))
    return read_card(str(tmp_path / "card.yaml"))


def test_a_split_of_sparse_matrices(paper, tmp_path):
    split = load_given_split(*paper, "paper")
    assert split.train.to_frame().to_numpy().tolist() == [[0, 0, 5], [0, 2, 3], [1, 1, 1], [1, 3, 2]]
    assert split.test.to_frame().to_numpy().tolist() == [[0, 1, 4], [2, 3, 1]]
    assert load_ratings(*paper).interactions.digest == split.everything.digest
    save_npz(tmp_path / "test.npz", coo_array((1, 4)))
    with pytest.raises(DataError, match=r"test.npz has 1 x 4 users and items, but .*train.npz has 3 x 4; both need all"):
        load_given_split(*paper, "paper")


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from([csr_array, csc_array, coo_array, csr_matrix]),
    dtype=st.sampled_from(["f8", "f4", "i1", "i8", "u4", "?"]),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 5)),
    seed=st.integers(0, 10**6),
    compressed=st.booleans(),
)
def test_round_trip(tmp_path_factory, kind, dtype, shape, seed, compressed):
    rng = np.random.default_rng(seed)
    row, column = np.nonzero(rng.integers(0, 2, shape))
    data = rng.integers(0, 3, len(row)).astype(dtype)  # stored zeros are ratings
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    save_npz(path, kind(coo_array((data, (row, column)), shape=shape)), compressed=compressed)
    assert triples(path) == sorted(zip(row, column, data.astype(np.float32), strict=True))
    assert read_npz(path).shape == shape


def test_repeated_entries_of_coo_matrices_are_events(tmp_path):
    save_npz(tmp_path / "a.npz", coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(1, 2)))
    assert triples(tmp_path / "a.npz") == [(0, 1, 1), (0, 1, 2)]


def write(path: Path, **members) -> Path:
    """An npz file of a csr matrix 3 x 4 whose `members` are replaced: by arrays, raw bytes, or left out for None."""
    stored = csr_array(TRAIN)
    arrays = {"format": np.array(b"csr"), "shape": np.array([3, 4]), "data": stored.data}
    arrays |= {"indices": stored.indices, "indptr": stored.indptr} | members
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            stream = io.BytesIO()
            if isinstance(value, np.ndarray):
                np.lib.format.write_array(stream, value)
            if value is not None:
                archive.writestr(f"{name}.npy", value if isinstance(value, bytes) else stream.getvalue())
    return path


def header(text: str, rest: bytes = b"") -> bytes:
    """A member with any header."""
    line = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + rest


class Trap:
    def __reduce__(self):
        return (open, ("trapped", "w"))


BIG = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
CASES = [
    ({"format": np.array(b"bsr")}, "it holds a matrix of format 'bsr'; save it as csr, csc or coo"),
    ({"format": None}, "it lacks format; write it with scipy.sparse.save_npz"),
    ({"indptr": None}, "it lacks indptr; write it with"),
    ({"shape": np.array([3, 4, 1])}, r"its shape is \[3, 4, 1\], expected the numbers of users and items"),
    ({"shape": np.array([-3, 4])}, r"its shape is \[-3, 4\], expected"),
    ({"shape": np.array([0, 4])}, r"its shape is \[0, 4\], expected"),
    ({"shape": np.array([3.0, 4.0])}, r"its shape is \[3.0, 4.0\], expected"),
    (
        {"shape": np.array([10**18, 4])},
        "it is damaged: indptr does not say where each of 1000000000000000000 rows",
    ),
    ({"indptr": np.array([0, 2, 1, 4])}, "it is damaged: indptr does not say where each of 3 rows begins among 4 entries"),
    ({"indptr": np.array([0, 2, 4, 5])}, "it is damaged: indptr does not say"),
    ({"indptr": np.array([1, 2, 4, 4])}, "it is damaged: indptr does not say"),
    ({"indptr": np.zeros(0, int)}, "it is damaged: indptr does not say"),
    ({"indices": np.array([0, 2, 1, 4])}, "it is damaged: an entry is in column 4, but there are 4 columns"),
    ({"indices": np.array([0, 2, 1, -1])}, "it is damaged: an entry is in column -1, but there are 4 columns"),
    ({"indices": np.array([0.0, 2, 1, 3])}, "indices holds 1-dimensional float64, expected a list of integers"),
    ({"data": np.ones(3)}, "it is damaged: it has 4 rows, 4 columns and 3 values of entries"),
    ({"data": np.ones((4, 1))}, "data holds 2-dimensional float64, expected a list of numbers"),
    ({"data": np.array(["a", "b", "c", "d"])}, "data holds 1-dimensional <U1, expected a list of numbers"),
    ({"data": np.ones(4, complex)}, "data holds complex128, expected numbers; objects are never unpickled"),
    ({"data": b"no array"}, "data is not an array of NumPy: "),
    ({"data": header("(" * 3000)}, "data is not an array of NumPy: "),
    (
        {"data": header(BIG, b"12345678")},
        r"it is damaged: data announces \(1000000000000,\) values of float64, but",
    ),
    ({"data": header(BIG.replace("(1000000000000,)", "(-1, -4)"), b"1" * 32)}, "it is damaged: data announces"),
]


@pytest.mark.parametrize(("members", "message"), CASES)
def test_damaged_and_hostile_files(tmp_path, members, message):
    with pytest.raises(DataError, match=f"a.npz: {message}"):
        read_npz(write(tmp_path / "a.npz", **members))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled = header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps(np.array([Trap()], object)))
    with pytest.raises(DataError, match="data holds object, expected numbers; objects are never unpickled"):
        read_npz(write(tmp_path / "a.npz", data=pickled))
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (-np.inf, "-inf"), (2e9, "2000000000.0")])
def test_ratings_are_finite(paper, tmp_path, value, shown):
    save_npz(tmp_path / "train.npz", csr_array(np.where(TRAIN == 3, value, TRAIN)))
    message = rf"train.npz: the rating of user 0 and item 2 is {shown}, but ratings must be finite and at most 1e\+09 in size"
    with pytest.raises(DataError, match=message):
        load_given_split(*paper, "paper")


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data.npy", "w") as member:
        for _ in range(300):
            member.write(bytes(2**20))
    with pytest.raises(DataError, match="it expands to 314572800 bytes, over 200 times its size; save it uncompressed"):
        read_npz(tmp_path / "a.npz")


def test_other_files(tmp_path):
    path = tmp_path / "a.npz"
    for content in (b"", b"user,item\n1,2\n", write(path).read_bytes()[:-30]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="it is not a complete npz file: "):
            read_npz(path)
    damaged = bytearray(write(path).read_bytes())
    damaged[damaged.index(b"data.npy") + 30] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"a.npz: it (is not a complete npz file|cannot be unpacked): "):
        read_npz(path)
    save_npz(path, bsr_array(TRAIN))
    with pytest.raises(DataError, match="format 'bsr'"):
        read_npz(path)
    with pytest.raises(DataError, match="there is no file"):
        read_npz(tmp_path / "absent.npz")
