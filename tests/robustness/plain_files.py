"""Readers of plain data and declarations: how their files are made, read, and read by an independent parser."""

import csv
import io
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from matrix_files import write_matlab
from PIL import Image
from robustness.catalogue import write
from robustness.feeding import card, events, from_card, gz, parquet, pipeline, small_log
from robustness.reader import Reader, in_files, three
from robustness.references import (
    INTEGER,
    StrictError,
    by_arrow,
    by_csv,
    by_gzip,
    by_json_lines,
    by_lines,
    by_struct,
    ids_of,
    text_of,
    triples_of,
)
from scipy.sparse import coo_array, csc_array, csr_array, load_npz, save_npz

from recsys_ae.data.cards import read_card
from recsys_ae.data.images import load_images
from recsys_ae.data.ratings import load_given_split, load_ratings
from recsys_ae.errors import RecsysError
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.export.local import read_recommendations

TEXT_LOG = small_log(12, 6)
JSON_LOG = "".join(
    json.dumps(dict(zip(("user", "item", "rating", "time"), map(int, line.split(",")), strict=True))) + "\n"
    for line in TEXT_LOG.split("\n")[1:-1]
)


def log_reader(path: str, content: Any, reference: Callable[[], Any], **table: Any) -> Reader:
    def make(folder: Path) -> None:
        write(folder / path, content)
        write(folder / "card.yaml", card(path, table=table, duplicates="last"))

    return Reader(make, lambda: three(from_card()), (path,), reference)


def numbers(text: str) -> dict[str, list[int]]:
    columns = zip(*(map(int, line.split(",")) for line in text.split("\n")[1:-1]), strict=True)
    return dict(zip(("user", "item", "rating", "time"), map(list, columns), strict=True))


FEATURES = "item,year,shop\n" + "".join(f"{101 + item},{1990 + item},shop {item % 3}\n" for item in range(6))


def make_features(folder: Path) -> None:
    columns = {"year": {"kind": "numeric", "column": "year"}, "shop": {"kind": "category", "column": "shop"}}
    write(folder / "log.csv", TEXT_LOG)
    write(folder / "items.csv", FEATURES)
    write(
        folder / "card.yaml",
        card(duplicates="last", features={"items": {"path": "items.csv", "id": "item", "columns": columns}}),
    )


def read_features() -> Any:
    table = load_ratings(*read_card("card.yaml"), features=True).interactions.item_features
    return [
        table.ids.values.tolist(),
        [str(feature) for feature in table.features],
        np.asarray(table.matrix.todense()).tolist(),
    ]


def features_by_csv() -> Any:
    """What `read_features` gives if the file holds what the standard library reads from it."""
    rows = [row for row in csv.reader(io.StringIO(text_of("items.csv"), newline=""), strict=True) if any(row)]
    if any(len(row) != len(rows[0]) for row in rows) or any(
        not INTEGER.fullmatch(row[rows[0].index("item")]) for row in rows[1:]
    ):
        raise StrictError
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    before = Path("items.csv").read_bytes()
    Path("items.csv").write_text(written.getvalue())
    try:
        return read_features()
    except RecsysError:
        raise StrictError from None
    finally:
        Path("items.csv").write_bytes(before)


def make_pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        (folder / "pictures").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 4), np.uint8)).save(folder / f"pictures/{number}.png")
    write(folder / "card.yaml", {"name": "own", "kind": "image-folder", "folder": "pictures"})


def read_pictures() -> Any:
    images = load_images(*read_card("card.yaml"))
    return images.shape, np.round(np.concatenate([images.train, images.test]) * 255).astype(int).tolist()


def pictures_by_pillow() -> Any:
    """The same pictures decoded one by one; only grey ones of one size."""
    found = []
    for number in (0, 1, 2, 3, 5, 4):  # every fifth is a test image
        with Image.open(f"pictures/{number}.png") as image:
            if image.mode != "L":
                raise StrictError
            found.append(np.asarray(image))
    if len({image.shape for image in found}) > 1:
        raise StrictError
    return (1, *found[0].shape), [image.ravel().astype(int).tolist() for image in found]


def make_idx(folder: Path) -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (6, 3, 4), np.uint8), np.arange(6, dtype=np.uint8)
    for part in ("train", "test"):
        write(folder / f"{part}-images", struct.pack(">4I", 0x0803, *images.shape) + images.tobytes())
        write(folder / f"{part}-labels", struct.pack(">2I", 0x0801, 6) + labels.tobytes())
    places = {f"{part}_{what}": f"{part}-{what}" for part in ("train", "test") for what in ("images", "labels")}
    write(folder / "card.yaml", {"name": "own", "kind": "idx-images", **places})


def read_idx() -> Any:
    images = load_images(*read_card("card.yaml"))
    return np.round(images.train * 255).astype(int).tolist(), images.train_labels.tolist()


def idx_by_struct() -> Any:
    (shape, pixels), (_, labels) = by_struct("train-images", "images"), by_struct("train-labels", "labels")
    if shape[0] != len(labels) or by_struct("test-images", "images")[0][1:] != shape[1:]:
        raise StrictError
    return np.frombuffer(pixels, np.uint8).reshape(shape[0], -1).astype(int).tolist(), list(labels)


def read_declaration() -> Any:
    return read_pipeline("mine.yaml").to_yaml()


PIPELINE = pipeline(
    models=[{"name": "autorec", "hidden": [10, 5]}, {"name": "ease", "search": {"l2": [1, 2]}}], seed=[0, 1], export={"k": 3}
)
LISTS = "user_id,rank,item_id,score\n" + "".join(
    f"{user},{rank},{101 + (user + rank) % 7},{1 / rank}\n" for user in range(8) for rank in (1, 2, 3)
)


def read_lists() -> Any:
    frame, _ = read_recommendations("lists.csv")
    return sorted(frame[["user_id", "rank", "item_id"]].itertuples(index=False, name=None), key=repr)


def lists_by_csv() -> Any:
    header, *rows = [row for row in csv.reader(io.StringIO(text_of("lists.csv"), newline=""), strict=True) if row]
    if (
        not rows
        or any(len(row) != len(header) for row in rows)
        or any(not INTEGER.fullmatch(row[header.index("rank")]) for row in rows)
    ):
        raise StrictError
    columns = {name: [row[header.index(name)] for row in rows] for name in ("user_id", "rank", "item_id")}
    return sorted(zip(ids_of(columns["user_id"]), map(int, columns["rank"]), ids_of(columns["item_id"]), strict=True), key=repr)


# Splits in the formats of publications

PARTS = np.array([[1, 2, 0, 1, 0], [0, 1, 2, 0, 1], [2, 0, 1, 1, 0], [1, 1, 0, 2, 1]])  # 1 for training, 2 for test
STARS = PARTS * np.array([[1], [2], [2], [1]])


def split_reader(make: Callable[[Path], None], reference: Callable[[], Any], **keys: str) -> Reader:
    """A reader of the two parts of a given split."""

    def write_all(folder: Path) -> None:
        make(folder)
        splits = {"paper": keys}
        write(folder / "card.yaml", {"name": "own", "kind": "ratings", "duplicates": "last", "splits": splits})

    def read() -> Any:
        split = load_given_split(*read_card("card.yaml"), "paper")
        return [three(events(part)) for part in (split.train, split.test)]

    files = tuple(value for key, value in keys.items() if key in ("train", "test", "file"))
    return Reader(write_all, read, files, reference)


def make_adjacency(folder: Path) -> None:
    for part, name in ((1, "train.txt"), (2, "test.txt")):
        lists = (f"{user} {' '.join(map(str, np.flatnonzero(row == part)))}\n" for user, row in enumerate(PARTS))
        write(folder / name, "".join(lists))


def adjacency_by_split() -> Any:
    parts = []
    for name in ("train.txt", "test.txt"):
        lines = [line.decode().removeprefix("\ufeff").split() for line in re.split(b"\r\n|\r|\n", Path(name).read_bytes())]
        users, items = ids_of([line[0] for line in lines if line]), iter(ids_of([item for line in lines for item in line[1:]]))
        counts = [len(line) - 1 for line in lines if line]
        pairs = [(user, next(items), 1.0) for user, count in zip(users, counts, strict=True) for _ in range(count)]
        parts.append(sorted(pairs, key=repr))
    return parts


def make_npz(folder: Path) -> None:
    for part, name, kind in ((1, "train.npz", csr_array), (2, "test.npz", coo_array)):
        save_npz(folder / name, kind(np.where(part == PARTS, STARS, 0).astype(float)))


def npz_by_scipy() -> Any:
    parts = [load_npz(name).tocoo() for name in ("train.npz", "test.npz")]
    if parts[0].shape != parts[1].shape:
        raise StrictError
    return [triples_of(*part.coords, part.data) for part in parts]


def make_matlab(folder: Path) -> None:
    masks = [(part == PARTS).astype(float) for part in (1, 2)]
    write_matlab(folder / "data.mat", M=STARS.astype(float), A=masks[0], B=csc_array(masks[1]))


def matlab_by_h5py() -> Any:
    with h5py.File("data.mat") as file:
        ratings, train = (np.asarray(file[name]).T for name in ("M", "A"))
        arrays = (np.asarray(file["B"][name]) for name in ("data", "ir", "jc"))
        test = csc_array(tuple(arrays), shape=(int(file["B"].attrs["MATLAB_sparse"]), ratings.shape[1])).toarray()
    if not all(set(mask.ravel().tolist()) <= {0, 1} and mask.shape == ratings.shape for mask in (train, test)):
        raise StrictError
    return [triples_of(*(places := np.nonzero(mask)), ratings[places]) for mask in (train, test)]


MATLAB = {"format": "matlab", "file": "data.mat", "matrix": "M", "train_mask": "A", "test_mask": "B"}

PLAIN = {
    "csv": log_reader("log.csv", TEXT_LOG, lambda: by_csv(text_of("log.csv"))),
    "tsv": log_reader("log.tsv", TEXT_LOG.replace(",", "\t"), lambda: by_lines(text_of("log.tsv"), "\t"), separator="\t"),
    "two colons": log_reader(
        "log.dat", TEXT_LOG.replace(",", "::"), lambda: by_lines(text_of("log.dat"), "::"), separator="::"
    ),
    "json lines": log_reader("log.jsonl", JSON_LOG, lambda: by_json_lines(text_of("log.jsonl"))),
    "parquet": log_reader("log.parquet", parquet(**numbers(TEXT_LOG)), lambda: by_arrow("log.parquet")),
    "gzip": log_reader("log.csv.gz", gz(TEXT_LOG), by_gzip),
    "adjacency": split_reader(make_adjacency, adjacency_by_split, format="adjacency", train="train.txt", test="test.txt"),
    "npz": split_reader(make_npz, npz_by_scipy, format="npz", train="train.npz", test="test.npz"),
    "matlab": split_reader(make_matlab, matlab_by_h5py, **MATLAB),
    "features": Reader(make_features, read_features, ("items.csv",), features_by_csv),
    "lists": Reader(in_files({"lists.csv": LISTS}), read_lists, ("lists.csv",), lists_by_csv),
    "cards": Reader(
        in_files({"log.csv": TEXT_LOG, "card.yaml": card(scale=[1, 5], ids={"user": "int"})}),
        lambda: read_card("card.yaml")[0],
        ("card.yaml",),
        anything=True,
    ),
    "pipelines": Reader(in_files({"mine.yaml": PIPELINE}), read_declaration, ("mine.yaml",), anything=True),
    "idx": Reader(make_idx, read_idx, ("train-*",), idx_by_struct),
    "png": Reader(make_pictures, read_pictures, ("pictures/*",), pictures_by_pillow),
}
