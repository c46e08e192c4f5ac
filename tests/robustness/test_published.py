"""Splits in the formats of publications, run as pipelines: adjacency lists, npz and MATLAB v7.3."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from matrix_files import write_matlab
from robustness.catalogue import Case, Content, cases
from robustness.feeding import RUN, pipeline
from scipy.sparse import csr_array, save_npz

PARTS = np.array([[1, 2, 0, 1, 0], [0, 1, 2, 0, 1], [2, 0, 1, 1, 0], [1, 1, 0, 2, 1]])  # 1 for training, 2 for test
STARS = np.maximum(PARTS, 0) * np.array([[1.0], [2], [2], [1]])
TRAIN, TEST = (np.where(part == PARTS, STARS, 0) for part in (1, 2))
LISTS = {"format": "adjacency", "train": "train.txt", "test": "test.txt"}
MATRICES = {"format": "npz", "train": "train.npz", "test": "test.npz"}
MASKED = {"format": "matlab", "file": "data.mat", "matrix": "M", "train_mask": "A", "test_mask": "B"}


def adjacency(part: int) -> str:
    return "".join(f"{user} {' '.join(map(str, np.flatnonzero(row == part)))}\n" for user, row in enumerate(PARTS))


def npz(matrix: np.ndarray) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        with path.open("wb") as file:  # to a path of another ending, SciPy would add its own
            save_npz(file, csr_array(matrix))

    return save


def matlab(**changes: object) -> Callable[[Path], None]:
    content = {"M": STARS, "A": (PARTS == 1) * 1.0, "B": (PARTS == 2) * 1.0, **changes}
    return lambda path: write_matlab(path, **content)


def pairs_tested() -> int:
    """The number of ratings that the run was tested on."""
    report = json.loads(Path("out/report.json").read_text())
    return next(iter(report["data"].values()))["sizes"]["test"]


def published(name: str, split: dict, *, says: tuple[str, ...] = (), code: int | None = None, **files: Content) -> Case:
    """A run on the good files of a split, some of which are replaced; the number of test pairs, or an error."""
    good: dict[str, Content] = {
        "train.txt": adjacency(1),
        "test.txt": adjacency(2),
        "train.npz": npz(TRAIN),
        "test.npz": npz(TEST),
        "data.mat": matlab(),
    }
    good |= {key.replace("__", "."): content for key, content in files.items()}
    card = {"name": "own", "kind": "ratings", "splits": {"paper": split}}
    declared = pipeline(dataset=card, split={"kind": "given", "name": "paper"}, without=("export",))
    code = (1 if says else 0) if code is None else code
    good = {path: content for path, content in good.items() if content is not None}
    return Case(
        name, RUN, {**good, "mine.yaml": declared}, code, says, then=None if says else pairs_tested, gives=... if says else 4
    )


def bomb(path: Path) -> None:
    """300 MiB of zeros in 300 kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data.npy", "w") as member:
        for _ in range(300):
            member.write(bytes(2**20))


def huge(path: Path) -> None:
    """Eight terabytes of zeros that are not stored."""
    matlab()(path)
    with h5py.File(path, "r+") as file:
        del file["M"]
        file.create_dataset("M", (10**6, 10**6), "f8", chunks=(100, 100))


def circular(path: Path) -> None:
    """A variable that is a group which holds itself."""
    matlab()(path)
    with h5py.File(path, "r+") as file:
        del file["M"]
        file.create_group("M")["jc"] = h5py.SoftLink("/M/jc")


FILES = [
    published("adjacency", LISTS),
    published("npz", MATRICES),
    published("matlab", MASKED),
    published("adjacency-without-test", LISTS, says=("test.txt",), test__txt=None),
    published("adjacency-empty", LISTS, says=("train.txt", "no user has an item"), train__txt=""),
    published("adjacency-binary", LISTS, says=("train.txt", "zip archive"), train__txt=npz(TRAIN)),
    published("adjacency-of-latin-1", LISTS, says=("train.txt, line 1", "not UTF-8"), train__txt="é 1".encode("latin-1")),
    published("adjacency-with-commas", LISTS, says=("train.txt", "separated by blanks"), train__txt="0,1,2\n1,3\n"),
    published("adjacency-long-line", LISTS, says=("599999 repeated rows",), train__txt="0 1 " + "7 " * 600_000),
    published("adjacency-of-other-ids", LISTS, says=("integers", "text"), test__txt="a b\n"),
    published("npz-bomb", MATRICES, says=("train.npz", "expands to 314572800", "200 times"), train__npz=bomb),
    published("npz-is-text", MATRICES, says=("train.npz", "not a complete npz file"), train__npz="0 1 2\n"),
    published("npz-of-other-shape", MATRICES, says=("test.npz", "4 x 3", "4 x 5"), test__npz=npz(TEST[:, :3])),
    published("npz-not-finite", MATRICES, says=("test.npz", "nan", "finite"), test__npz=npz(TEST * np.nan)),
    published("npz-overlap", MATRICES, says=("own", "more than one part", "duplicates"), test__npz=npz(TRAIN)),
    published("npz-nothing-to-train", MATRICES, says=("train",), train__npz=npz(TRAIN * 0)),
    published("npz-nothing-to-test", MATRICES, says=("test",), test__npz=npz(TEST * 0)),
    published("matlab-huge", MASKED, says=("data.mat", "M takes 8000000000000 bytes", "sparse"), data__mat=huge),
    published("matlab-circular", MASKED, says=("data.mat",), data__mat=circular),
    published("matlab-is-text", MASKED, says=("data.mat", "v7.3"), data__mat="MATLAB 5.0 MAT-file"),
    published("matlab-overlap", MASKED, says=("data.mat", "4 entries are in A and B"), data__mat=matlab(A=(PARTS > 0) * 1.0)),
    published("matlab-nothing-to-test", MASKED, says=("test",), data__mat=matlab(B=PARTS * 0.0)),
    published("matlab-without-mask", MASKED | {"test_mask": "C"}, says=("data.mat", "'C'", "known are: A, B, M")),
    published("matlab-name-is-a-path", MASKED | {"matrix": "../M"}, code=2, says=("matrix", "text that matches")),
]


@cases(*FILES)
def test_published_split(case, examine):
    examine(case)
