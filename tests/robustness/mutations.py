"""Seeded mutations of the files of every reader, and what came of them.

A mutation is `refused` (one of our errors), or accepted. What is accepted must be `unchanged`: for formats that check
themselves (models, checkpoints, exports, the state of a run) the result of the undamaged files, for plain data what an
independent, strict parser reads from the damaged file. Everything else is a fault: `changed` (a result that differs without a
word), `crashed` (any other exception) or `hung`. `attempt` is reproducible: reader and number determine the mutation.

To add a reader, add an entry to `READERS`. As a script, it prints an outcome per line for `benchmarks/fuzz.py`:

    python -m robustness.mutations READER FIRST LAST FOLDER
"""

import csv
import gzip
import io
import json
import math
import random
import re
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from matrix_files import write_matlab
from PIL import Image
from robustness.catalogue import Hung, limits, write
from robustness.feeding import card, events, from_card, gz, parquet, pipeline, small_log, small_model
from scipy.sparse import coo_array, csc_array, csr_array, load_npz, save_npz

from recsys_ae import cli, load_image_model, load_model, read_interactions
from recsys_ae.core import checkpoint
from recsys_ae.core.trainer import Epoch, TrainConfig, Training
from recsys_ae.data.cards import read_card
from recsys_ae.data.images import load_images
from recsys_ae.data.ratings import load_given_split, load_ratings
from recsys_ae.errors import RecsysError
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.export.local import export_recommendations, read_recommendations
from recsys_ae.images.storage import build_image_model, image_model_digest, save_image_model
from recsys_ae.models.storage import model_digest

SECONDS = 20  # of processor time for one mutation
OUTCOMES = ("refused", "unchanged", "changed", "crashed", "hung")
FAULTS = ("changed", "crashed", "hung")


class StrictError(Exception):
    """What an independent parser does not accept."""


@dataclass(frozen=True)
class Reader:
    """One way in which files get into the program.

    Attributes:
        make: writes good files to a folder.
        read: the result of reading them, in the current folder; compared by its `repr`.
        mutated: glob patterns of the files to mutate.
        reference: what an independent, strict parser reads in the current folder, or `StrictError`; None if the files check
            themselves, so that nothing but the undamaged result is right.
        anything: whether every accepted value is right (declarations, whose values have no second opinion).
        cost: how many other mutations one of these stands for.
    """

    make: Callable[[Path], None]
    read: Callable[[], Any]
    mutated: tuple[str, ...]
    reference: Callable[[], Any] | None = None
    anything: bool = False
    cost: int = 1


@dataclass(frozen=True)
class Attempt:
    """What came of one mutation."""

    reader: str
    number: int
    outcome: str
    file: str
    detail: str = ""


# Mutations of bytes

NUMBERS = [
    "",
    "0",
    "-1",
    "-0",
    "007",
    "+7",
    "1e39",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "9" * 30,
    str(2**63),
    "1.5",
    "0x10",
    "1_0",
    "\u0661",
]
TOKENS = [
    *NUMBERS,
    '"',
    "'",
    '""',
    ",",
    "\t",
    "::",
    ";",
    "\0",
    "\r",
    "\n",
    "\ufeff",
    "\u00e9",
    "\U0001f600",
    "\ud7ff",
    "null",
    "true",
    "~",
    "x" * 5000,
]
TOKENS += [
    "[",
    "{",
    "&a",
    "*a",
    "!!python/name:os.system",
    "<<",
    "%",
    "#",
    "2001-99-99",
    "\\ud800",
    "../x",
    " 7",
    "7 ",
    "-",
    "|",
]
TOKEN = re.compile(rb'[^,\t:;\s"{}\[\]]+')


def flip(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        at = _place(len(damaged), chance)
        damaged[at] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _place(size: int, chance: random.Random) -> int:
    """A position; half of the time near the beginning or the end, where formats keep their structure."""
    near = min(size, 256)
    return chance.choice(
        (chance.randrange(size), chance.randrange(size), chance.randrange(near), size - 1 - chance.randrange(near))
    )


def insert(content: bytes, chance: random.Random) -> bytes:
    at = _place(len(content), chance)
    return content[:at] + bytes(chance.randrange(256) for _ in range(chance.choice((1, 1, 4, 64)))) + content[at:]


def delete(content: bytes, chance: random.Random) -> bytes:
    at = _place(len(content), chance)
    return content[:at] + content[at + chance.choice((1, 1, 4, 64)) :]


def duplicate(content: bytes, chance: random.Random) -> bytes:
    at = _place(len(content), chance)
    part = content[at : at + chance.choice((1, 8, 64, 512))]
    return content[:at] + part + content[at:]


def truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: _place(len(content), chance)]


def blank(content: bytes, chance: random.Random) -> bytes:
    at = _place(len(content), chance)
    part = content[at : at + chance.choice((1, 8, 64))]
    return content[:at] + bytes([chance.choice((0, 255))]) * len(part) + content[at + len(part) :]


def substitute(content: bytes, chance: random.Random) -> bytes:
    """Another token in the place of one."""
    found = list(TOKEN.finditer(content))
    if not found:
        return insert(content, chance)
    token = chance.choice(found)
    return content[: token.start()] + chance.choice(TOKENS).encode("utf-8", "surrogatepass") + content[token.end() :]


def separate(content: bytes, chance: random.Random) -> bytes:
    """A separator or quotation mark more, less, or of another kind."""
    marks = [at for at, byte in enumerate(content) if byte in b',\t:;"\n{}[]-']
    at = chance.choice(marks) if marks else 0
    return (
        content[:at]
        + chance.choice((b"", b'"', b",", b"\t", b"::", b"\n", b"\r", b'""', b";"))
        + content[at + chance.randrange(2) :]
    )


def shuffle_lines(content: bytes, chance: random.Random) -> bytes:
    """Two lines swapped, one repeated, or one left out."""
    found = content.split(b"\n")
    one, other = chance.randrange(len(found)), chance.randrange(len(found))
    match chance.randrange(3):
        case 0:
            found[one], found[other] = found[other], found[one]
        case 1:
            found.insert(other, found[one])
        case _:
            del found[one]
    return b"\n".join(found)


VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    2**70,
    "",
    "x",
    "x" * 2000,
    [],
    {},
    [[]],
    {"a": {}},
    "../../x",
    "\u00e9",
    float("nan"),
    float("inf"),
]


def restructure(value: Any, chance: random.Random) -> Any:
    """A tree of mappings and lists with one node replaced, removed, repeated, wrapped or moved."""
    nodes: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key, below in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            nodes.append((node, key))
            walk(below)

    walk(value)
    if not nodes:
        return chance.choice(VALUES)
    parent, key = chance.choice(nodes)
    match chance.randrange(6):
        case 0 | 1:
            parent[key] = chance.choice(VALUES)
        case 2:
            del parent[key]
        case 3:
            parent[key] = [parent[key]]
        case 4 if isinstance(parent, dict):
            parent[f"{key}x"] = parent.pop(key)
        case 5:
            other, place = chance.choice(nodes)
            if place in other if isinstance(other, dict) else place < len(other):
                parent[key] = json.loads(json.dumps(other[place], default=str))
    return value


def in_json(content: bytes, chance: random.Random) -> bytes:
    return json.dumps(restructure(json.loads(content), chance)).encode()


def in_yaml(content: bytes, chance: random.Random) -> bytes:
    return yaml.safe_dump(restructure(yaml.safe_load(content), chance), sort_keys=False).encode()


BYTES = (flip, flip, flip, insert, delete, duplicate, truncate, blank)
TEXT = (*BYTES, substitute, substitute, substitute, separate, separate, shuffle_lines)
KINDS: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    ".json": (*TEXT, *[in_json] * 8),
    ".yaml": (*TEXT, *[in_yaml] * 8),
    **dict.fromkeys((".csv", ".tsv", ".dat", ".jsonl", ".txt"), TEXT),
}


def mutate(path: Path, chance: random.Random) -> bytes:
    """The mutated content of a file."""
    content = path.read_bytes()
    return chance.choice(KINDS.get(path.suffix, BYTES))(content, chance) if content else b"x"


# References: plain data once more, by the standard library and as strict as possible

INTEGER = re.compile("0|-?[1-9][0-9]*")


def _ids(column: Sequence[str]) -> list[Any]:
    if any(not value or value != value.encode(errors="replace").decode() for value in column):
        raise StrictError
    whole = all(INTEGER.fullmatch(value) and -(2**63) <= int(value) < 2**63 for value in column)
    return [int(value) for value in column] if whole else list(column)


def _number(text: str) -> float:
    if "_" in text or not text.isascii():
        raise StrictError
    return float(text)


def rows_of(fields: Sequence[Sequence[str]]) -> list[Any]:
    """Sorted (user, item, rating) of rows of text, the first of which is the header."""
    header, *rows = fields
    if (
        not rows
        or any(len(row) != len(header) for row in rows)
        or any(header.count(name) != 1 for name in ("user", "item", "rating", "time"))
    ):
        raise StrictError
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    ratings = [float(np.float32(_number(text))) for text in columns["rating"]]
    if not all(map(math.isfinite, ratings)) or not all(columns["time"]):
        raise StrictError
    return sorted(zip(_ids(columns["user"]), _ids(columns["item"]), ratings, strict=True), key=repr)


def by_csv(text: str) -> list[Any]:
    csv.field_size_limit(1 << 30)
    return rows_of([row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row])


def by_gzip() -> list[Any]:
    return by_csv(gzip.decompress(Path("log.csv.gz").read_bytes()).decode("utf-8-sig"))


def by_lines(text: str, separator: str) -> list[Any]:
    return rows_of([line.split(separator) for line in re.split("\r\n|\r|\n", text) if line])


def text_of(path: str) -> str:
    return Path(path).read_bytes().decode("utf-8-sig", "surrogateescape")


def by_json_lines(text: str) -> list[Any]:
    found = [json.loads(line) for line in text.split("\n") if line.strip()]
    if not all(isinstance(row, dict) and {"user", "item", "rating", "time"} <= row.keys() for row in found):
        raise StrictError
    return sorted(((row["user"], row["item"], float(np.float32(row["rating"]))) for row in found), key=repr)


def by_arrow(path: str) -> list[Any]:
    table = pq.read_table(path, columns=["user", "item", "rating"])
    users, items, ratings = (table[name].to_pylist() for name in ("user", "item", "rating"))
    return sorted(
        ((user, item, float(np.float32(rating))) for user, item, rating in zip(users, items, ratings, strict=True)), key=repr
    )


def by_struct(path: str, what: str) -> tuple[tuple[int, ...], bytes]:
    content = Path(path).read_bytes()
    dimensions = 3 if what == "images" else 1
    magic, *shape = struct.unpack(f">{1 + dimensions}I", content[: 4 + 4 * dimensions])
    if magic != 0x0800 | dimensions or math.prod(shape) != len(content) - 4 - 4 * dimensions:
        raise StrictError
    return tuple(shape), content[4 + 4 * dimensions :]


# Readers


def three(rows: list[Any]) -> list[Any]:
    """Sorted (user, item, rating) of events."""
    return sorted(((user, item, rating) for user, item, rating, _ in rows), key=repr)


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


def make_image_model(folder: Path) -> None:
    images = np.random.default_rng(0).random((30, 16), dtype=np.float32)
    save_image_model(build_image_model("dense", {"hidden": 3, "epochs": 1}).fit(images, shape=(1, 4, 4)), folder / "model")


def read_image_model() -> Any:
    model = load_image_model("model")
    images = np.random.default_rng(1).random((3, 16), dtype=np.float32)
    return image_model_digest(model), model.encode(images).tolist()


def read_model() -> Any:
    model = load_model("model")
    history = read_interactions("log.csv", scale=(1, 5), duplicates="last")
    return model_digest(model), model.scores(history, np.arange(2)).tolist() if history.items == model.fitted.ids[
        "items"
    ] else None


def new_training() -> Any:
    """A small training that can be saved and restored; its data plays no part in that."""
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.Linear(3, 2)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.rand(weight.shape, generator=generator))
    config = TrainConfig(epochs=3, batch_size=2)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.1)
    module(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    return Training(module, optimiser, generator, config, history=[Epoch(1, 0.5, None, 0.1)])


def read_checkpoint() -> Any:
    training = new_training()
    checkpoint.restore(training, Path("some.checkpoint"))
    state = [weight.tolist() for weight in training.module.state_dict().values()]
    moments = repr(training.optimiser.state_dict()["state"])
    return state, moments, repr(training.history), training.generator.get_state().tolist(), repr(training.best_weights)


def make_export(folder: Path) -> None:
    small_model()(folder / "some-model")
    write(folder / "log.csv", small_log())
    history = read_interactions(folder / "log.csv", scale=(1, 5))
    export_recommendations(load_model(folder / "some-model"), history, folder / "lists", 4)
    shutil.rmtree(folder / "some-model")
    (folder / "log.csv").unlink()


def read_export() -> Any:
    frame, length = read_recommendations("lists")
    return length, frame.to_numpy().tolist(), list(frame.columns)


def make_unfinished(folder: Path) -> None:
    """An export that was killed after its last part, before its manifest."""
    small_model()(folder / "some-model")
    write(folder / "log.csv", small_log())
    with in_folder(folder), mock.patch("os.replace", _stop_before("manifest.json")):
        try:
            finish_export()
        except KeyboardInterrupt:
            return
    raise AssertionError("the export was not interrupted")


def _stop_before(name: str) -> Callable[[Any, Any], None]:
    from os import replace

    def stop(source: Any, target: Any) -> None:
        if Path(target).name.endswith(name):
            raise KeyboardInterrupt
        replace(source, target)

    return stop


def finish_export() -> Any:
    history = read_interactions("log.csv", scale=(1, 5))
    export_recommendations(load_model("some-model"), history, "lists", 4)
    return [pq.read_table(path).to_pylist() for path in sorted(Path("lists").glob("part-*"))]


RUN = "run mine.yaml --output out --tracking-uri none"


def command(line: str) -> int:
    """The exit code of a command line in this process; `Unexpected` if it is not one of our errors."""
    told = io.StringIO()
    quiet = (
        mock.patch("logging.basicConfig"),
        mock.patch("signal.signal"),
        mock.patch.object(sys, "argv", ["recsys-ae", *line.split()]),
    )
    with quiet[0], quiet[1], quiet[2], redirect_stderr(told), redirect_stdout(io.StringIO()):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    if "shows where" in told.getvalue():
        raise AssertionError(told.getvalue().strip().splitlines()[-1])
    if code in (1, 2):
        raise RecsysError(told.getvalue().strip().splitlines()[-1])
    return code


def make_state(folder: Path) -> None:
    """A run that was killed in the training of its second model."""
    write(
        folder / "mine.yaml",
        pipeline(models=[{"name": "ease"}, {"name": "mf", "factors": 2, "epochs": 4}], metrics=["rmse", "ndcg@5"]),
    )
    write(folder / "log.csv", small_log())
    saving = checkpoint.Checkpoint.on_epoch

    def stop(self: Any, training: Any) -> None:
        saving(self, training)
        if len(training.history) == 2:
            raise KeyboardInterrupt

    with in_folder(folder), mock.patch.object(checkpoint.Checkpoint, "on_epoch", stop):
        assert command(RUN) == 130


def resume() -> Any:
    command(f"{RUN} --resume")
    report = json.loads(Path("out/report.json").read_text())
    metrics = {label: (result["metrics"], result["valid_metrics"]) for label, result in report["models"].items()}
    return metrics, [path.read_bytes() for path in sorted(Path("out/models").glob("*/arrays.safetensors"))]


def read_declaration() -> Any:
    return read_pipeline("mine.yaml").to_yaml()


def in_files(files: dict[str, Any]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for path, content in files.items():
            write(folder / path, content)

    return make


def make_checkpoint(folder: Path) -> None:
    checkpoint.save(new_training(), folder / "some.checkpoint")


def make_model(folder: Path) -> None:
    small_model()(folder / "model")
    write(folder / "log.csv", small_log())


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
    return sorted(zip(_ids(columns["user_id"]), map(int, columns["rank"]), _ids(columns["item_id"]), strict=True), key=repr)


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
        users, items = _ids([line[0] for line in lines if line]), iter(_ids([item for line in lines for item in line[1:]]))
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


def triples_of(users: Any, items: Any, ratings: Any) -> list[Any]:
    """Sorted (user, item, rating) of arrays."""
    ratings = np.asarray(ratings).astype(np.float32)
    if not (np.abs(ratings) <= 1e9).all():
        raise StrictError
    return sorted(zip(users.tolist(), items.tolist(), ratings.tolist(), strict=True), key=repr)


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

READERS: dict[str, Reader] = {
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
    "models": Reader(make_model, read_model, ("model/*",)),
    "image models": Reader(make_image_model, read_image_model, ("model/*",)),
    "checkpoints": Reader(make_checkpoint, read_checkpoint, ("some.checkpoint",)),
    "exports": Reader(make_export, read_export, ("lists/*",)),
    "unfinished exports": Reader(make_unfinished, finish_export, ("lists.partial/*/*",), cost=3),
    "state of runs": Reader(
        make_state, resume, ("out/.work/*", "out/pipeline.yaml", "out/models/*/*", "out/per-user/*"), cost=30
    ),
}


@contextmanager
def in_folder(folder: Path):
    from os import chdir, getcwd

    before = getcwd()
    chdir(folder)
    try:
        yield
    finally:
        chdir(before)


class Bench:
    """The good files of one reader in a folder, and attempts with mutated ones."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.reader = name, READERS[name]
        self.good, self.work = folder / "good", folder / "work"
        self.work.mkdir(parents=True)
        self.reader.make(self.work)  # at the place where it is read, because some files hold absolute paths
        shutil.copytree(self.work, self.good)
        with in_folder(self.work):
            self.right = repr(self.reader.read())

    def attempt(self, number: int) -> Attempt:
        """What comes of mutation `number`; the mutated files stay in `work`."""
        chance = random.Random(f"{self.name} {number}")
        shutil.rmtree(self.work)
        shutil.copytree(self.good, self.work)
        files = sorted({path for pattern in self.reader.mutated for path in self.work.glob(pattern) if path.is_file()})
        file = chance.choice([path for path in files if path.name != ".lock"])
        file.write_bytes(mutate(file, chance))
        outcome, detail = "unchanged", ""
        with in_folder(self.work):
            try:
                with limits(seconds=SECONDS):
                    found = repr(self.reader.read())
                if found != self.right and not self.reader.anything and found != self._reference():
                    outcome, detail = "changed", found[:200]
            except RecsysError as error:
                outcome, detail = "refused", str(error)[:300]
            except Hung:
                outcome = "hung"
            except Exception as error:  # whatever a reader lets through
                outcome, detail = "crashed", f"{type(error).__name__}: {error}"[:300]
        return Attempt(self.name, number, outcome, file.relative_to(self.work).as_posix(), detail)

    def _reference(self) -> str:
        if self.reader.reference is None:
            return ""
        try:
            return repr(self.reader.reference())
        except Exception:  # the reference accepts less
            return ""


def main(name: str, first: int, last: int, folder: str) -> None:
    """Print the outcome of each mutation as JSON, flushed, so that the last line before a crash says which one it was."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        bench = Bench(name, Path(place))
        for number in range(first, last):
            print(json.dumps({"number": number}), flush=True)
            started = time.process_time()
            found = bench.attempt(number)
            line = {**found.__dict__, "seconds": round(time.process_time() - started, 3)}
            if found.outcome in FAULTS:
                kept = Path(folder) / f"{name.replace(' ', '-')}-{number}"
                shutil.copytree(bench.work, kept, dirs_exist_ok=True)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
