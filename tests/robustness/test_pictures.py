"""Folders of pictures, IDX files, and pipelines of image models."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from robustness.catalogue import Case, cases
from robustness.feeding import RUN

from recsys_ae.data.cards import read_card
from recsys_ae.data.images import load_images


def png(pixels: np.ndarray, mode: str | None = None, **options: object) -> bytes:
    target = io.BytesIO()
    image = Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode)
    image.save(target, "PNG", **options)
    return target.getvalue()


def grey(value: int, shape: tuple[int, int] = (4, 4)) -> bytes:
    return png(np.full(shape, value, np.uint8))


def rgba(colour: tuple[int, int, int], alpha: int) -> bytes:
    return png(np.tile(np.array([*colour, alpha], np.uint8), (4, 4, 1)))


def palette(transparent: bool) -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255] + [0] * 762)
    target = io.BytesIO()
    image.save(target, "PNG", **({"transparency": 1} if transparent else {}))
    return target.getvalue()


def jpeg(value: int, mode: str = "L") -> bytes:
    target = io.BytesIO()
    Image.new(mode, (4, 4), value if mode == "L" else (value,) * len(mode)).save(target, "JPEG")
    return target.getvalue()


def saved(image: Image.Image, kind: str) -> bytes:
    target = io.BytesIO()
    image.save(target, kind)
    return target.getvalue()


def huge_png() -> bytes:
    """A valid header of 100,000 x 100,000 pixels, and hardly any content."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def pictures(
    name: str,
    first: bytes,
    *,
    other: bytes | None = None,
    code: int = 1,
    says: tuple[str, ...] = (),
    gives: object = ...,
    file: str = "0.png",
    then: object = None,
    **more: object,
) -> Case:
    """A folder of five or more pictures, of which the first is `first`; the mean of each of its channels, or an error."""
    ending = Path(file).suffix
    rest = {f"pictures/{number}{ending}": other or first for number in range(1, 10)}
    files = {f"pictures/{file}": first, **rest, "card.yaml": {"name": "own", "kind": "image-folder", "folder": "pictures"}}

    def channels() -> list[float]:
        found = load_images(*read_card("card.yaml"))
        return np.round(found.train[0].reshape(found.shape).mean(axis=(1, 2)).astype(float), 2).tolist()

    do = "datasets fetch card.yaml"
    code = 0 if gives is not ... else code
    return Case(name, do, {**files, **more}, code, says, then=(then or channels) if gives is not ... else None, gives=gives)


FOLDERS = [
    pictures("grey", grey(51), gives=[0.2]),
    pictures("colour", png(np.tile(np.array([255, 0, 51], np.uint8), (4, 4, 1))), gives=[1.0, 0.0, 0.2]),
    pictures("jpeg", jpeg(51), file="0.jpg", gives=[0.2]),
    pictures("capital-letters", grey(51), file="0.PNG", gives=[0.2]),
    pictures("black-and-white", saved(Image.new("1", (4, 4), 1), "PNG"), gives=[1.0]),
    pictures("transparent-is-white", rgba((0, 0, 0), 0), gives=[1.0, 1.0, 1.0]),
    pictures("half-transparent", rgba((0, 0, 0), 127), gives=[0.5, 0.5, 0.5]),
    pictures("opaque-with-alpha", rgba((255, 0, 51), 255), gives=[1.0, 0.0, 0.2]),
    pictures("transparent-grey", png(np.zeros((4, 4, 2), np.uint8)), gives=[1.0]),
    pictures("palette", palette(False), gives=[0.0, 0.0, 1.0]),
    pictures("palette-with-transparency", palette(True), gives=[1.0, 1.0, 1.0]),
    pictures("transparent-colour-of-rgb", png(np.zeros((4, 4, 3), np.uint8), transparency=(0, 0, 0)), gives=[1.0, 1.0, 1.0]),
    pictures("sixteen-bits", png(np.full((4, 4), 13107, np.uint16)), gives=[0.2]),
    pictures("cmyk-jpeg", jpeg(0, "CMYK"), file="0.jpg", gives=[1.0, 1.0, 1.0]),
    pictures("turned-by-exif", grey(51, (4, 4)), gives=[0.2]),
    pictures("same-number-of-pixels", grey(1, (2, 8)), other=grey(1, (4, 4)), says=("0.png", "1.png", "2", "8", "4")),
    pictures("turned", grey(1, (2, 8)), other=grey(1, (8, 2)), says=("0.png", "1.png", "2", "8")),
    pictures("other-size", grey(1, (5, 5)), other=grey(1), says=("0.png", "1.png", "5", "4")),
    pictures("grey-among-colour", grey(1), other=png(np.zeros((4, 4, 3), np.uint8)), says=("0.png", "1.png")),
    pictures("no-bytes", b"", other=grey(1), says=("0.png",)),
    pictures("text", b"hello", other=grey(1), says=("0.png",)),
    pictures("truncated", grey(1, (64, 64))[:-20], other=grey(1, (64, 64)), says=("0.png",)),
    pictures("truncated-by-little", grey(1)[:-4], other=grey(1), says=("0.png", "truncated")),
    pictures("truncated-jpeg", jpeg(51)[:-2], other=jpeg(51), file="0.jpg", says=("0.jpg", "truncated")),
    pictures("junk-after-the-end", grey(51) + b"\0" * 2000, gives=[0.2]),
    pictures("header-only", grey(1)[:20], other=grey(1), says=("0.png",)),
    pictures(
        "damaged", grey(1, (64, 64))[:50] + b"\xff" * 8 + grey(1, (64, 64))[58:], other=grey(1, (64, 64)), says=("0.png",)
    ),
    pictures("bomb", huge_png(), other=grey(1), says=("0.png",)),
    pictures("wrong-ending", saved(Image.new("L", (4, 4)), "GIF"), other=grey(1), says=("0.png", "GIF|PNG")),
    pictures("animated", saved(Image.new("L", (4, 4), 51), "GIF"), file="0.gif", says=("pictures",)),
    pictures("name-with-markup", b"hello", other=grey(1), file="[red]0.png", says=(r"\[red\]0\.png",)),
    Case(
        "a-folder-called-png",
        "datasets fetch card.yaml",
        {
            "pictures/0.png": lambda path: path.mkdir(),
            **{f"pictures/{number}.png": grey(51) for number in range(1, 10)},
            "card.yaml": {"name": "own", "kind": "image-folder", "folder": "pictures"},
        },
        1,
        ("0.png",),
    ),
    Case(
        "no-pictures",
        "datasets fetch card.yaml",
        {"pictures": lambda path: path.mkdir(), "card.yaml": {"name": "own", "kind": "image-folder", "folder": "pictures"}},
        1,
        ("pictures",),
    ),
    Case(
        "no-folder",
        "datasets fetch card.yaml",
        {"card.yaml": {"name": "own", "kind": "image-folder", "folder": "pictures"}},
        1,
        ("pictures",),
    ),
    Case(
        "four-pictures",
        "datasets fetch card.yaml",
        {
            **{f"pictures/{number}.png": grey(51) for number in range(4)},
            "card.yaml": {"name": "own", "kind": "image-folder", "folder": "pictures"},
        },
        1,
        ("4",),
    ),
    Case(
        "hidden-pictures-of-a-mac",
        "datasets fetch card.yaml",
        {
            "pictures/._0.png": b"\0\5\x16\7",
            **{f"pictures/{number}.png": grey(51) for number in range(5)},
            "card.yaml": {"name": "own", "kind": "image-folder", "folder": "pictures"},
        },
        1,
        (r"\._0\.png",),
    ),
]


def idx(array: np.ndarray, *, magic: int | None = None, shape: tuple[int, ...] | None = None) -> bytes:
    shape = array.shape if shape is None else shape
    return struct.pack(f">{1 + len(shape)}I", (0x0800 | array.ndim) if magic is None else magic, *shape) + array.tobytes()


IMAGES, LABELS = np.full((6, 4, 4), 51, np.uint8), np.arange(6, dtype=np.uint8) % 3
IDX_CARD = {
    "name": "own",
    "kind": "idx-images",
    **{f"{part}_{what}": f"{part}-{what}" for part in ("train", "test") for what in ("images", "labels")},
}
IDX = {
    "card.yaml": IDX_CARD,
    "train-images": idx(IMAGES),
    "train-labels": idx(LABELS),
    "test-images": idx(IMAGES),
    "test-labels": idx(LABELS),
}


def digits(name: str, says: tuple[str, ...] = (), code: int = 1, gives: object = ..., **files: object) -> Case:
    """IDX files, one of them changed; the mean pixel, or an error."""

    def mean() -> float:
        return round(float(load_images(*read_card("card.yaml")).train.mean()), 3)

    found = {**IDX, **{name.replace("_", "-"): content for name, content in files.items() if name != "card"}}
    found["card.yaml"] = {**IDX_CARD, **files.get("card", {})}
    return Case(name, "datasets fetch card.yaml", found, 0 if gives is not ... else code, says, then=mean, gives=gives)


IDX_FILES = [
    digits("idx-plain", gives=0.2),
    digits(
        "idx-gzip",
        gives=0.2,
        train_images__gz="",
        **{"train-images.gz": gzip.compress(idx(IMAGES)), "card": {"train_images": "train-images.gz"}},
    ),
    digits("idx-empty", ("train-images",), train_images=b""),
    digits("idx-header-cut", ("train-images",), train_images=idx(IMAGES)[:10]),
    digits("idx-truncated", ("train-images",), train_images=idx(IMAGES)[:-1]),
    digits("idx-too-long", ("train-images",), train_images=idx(IMAGES) + b"\0"),
    digits("idx-wrong-magic", ("train-images", "0x"), train_images=idx(IMAGES, magic=0x0D03)),
    digits("idx-labels-for-images", ("train-images",), train_images=idx(LABELS)),
    digits("idx-huge-shape", ("train-images",), train_images=idx(IMAGES, shape=(2**32 - 1, 2**32 - 1, 2**32 - 1))),
    digits("idx-shape-that-overflows", ("train-images",), train_images=idx(IMAGES, shape=(2**31, 2**31, 4))),
    digits("idx-no-images", ("train|images|0",), train_images=idx(IMAGES[:0]), train_labels=idx(LABELS[:0])),
    digits(
        "idx-images-of-no-pixels",
        ("train-images|pixels|0",),
        train_images=idx(np.empty((6, 0, 4), np.uint8)),
        test_images=idx(np.empty((6, 0, 4), np.uint8)),
    ),
    digits("idx-fewer-labels", ("6", "5"), train_labels=idx(LABELS[:5])),
    digits("idx-other-size-in-test", ("test", "4", "8|2"), test_images=idx(np.zeros((6, 2, 8), np.uint8))),
    digits(
        "idx-gzip-in-name-only",
        ("train-images.gz",),
        **{"train-images.gz": idx(IMAGES), "card": {"train_images": "train-images.gz"}},
    ),
    digits(
        "idx-truncated-gzip",
        ("train-images.gz",),
        **{"train-images.gz": gzip.compress(idx(IMAGES))[:-9], "card": {"train_images": "train-images.gz"}},
    ),
    digits("idx-missing", ("nothing",), card={"train_images": "nothing"}),
    digits("idx-white-too-small", ("white", "0"), 2, card={"white": 0}),
    digits("idx-white-nan", ("white",), 2, card={"white": float("nan")}),
    digits("idx-white-huge", ("white",), 2, card={"white": 2**70}),
]


def run(name: str, says: tuple[str, ...], code: int = 2, **keys: object) -> Case:
    """A pipeline of images on the digits; by default a wrong one."""
    declared = {
        "dataset": "digits",
        "split": {"train": 60, "valid": 10},
        "models": [{"name": "pca", "components": 2}],
        "metrics": ["mse"],
        **keys,
    }
    return Case(name, RUN, {"mine.yaml": declared}, code, says)


RUNS = [
    run("image-metric-unknown", ("mine.yaml", "msee", "mse"), metrics=["msee"]),
    run("image-metric-of-ratings", ("mine.yaml", "rmse"), metrics=["rmse"]),
    run("image-model-of-ratings", ("mine.yaml", "ease"), models=[{"name": "ease"}]),
    run("image-split-of-ratings", ("mine.yaml", "split"), split={"kind": "random"}),
    run("image-split-beyond", ("split|train", "5000"), 2, split={"train": 5000}),
    run("image-split-zero", ("split", "train"), split={"train": 0}),
    run("image-valid-negative", ("split", "valid"), split={"valid": -1}),
    run("image-split-huge", ("split|train",), 2, split={"train": 2**70}),
    run("image-components-beyond", ("components", "500|64"), 2, models=[{"name": "pca", "components": 500}]),
    run("image-learning-rate-nan", ("learning_rate", "nan"), models=[{"name": "dense", "learning_rate": float("nan")}]),
    run("image-noise-infinite", ("noise", "inf"), models=[{"name": "dense", "corruption": "gaussian", "noise": float("inf")}]),
    run("image-noise-above-one", ("models.0", "1.5"), models=[{"name": "dense", "corruption": "masking", "noise": 1.5}]),
    run("image-hidden-huge", ("hidden",), models=[{"name": "dense", "hidden": 10**12}]),
    run("image-channels-huge", ("channels",), models=[{"name": "convolutional", "channels": [10**12, 4]}]),
    run(
        "image-too-many-poolings",
        ("channels|convolutional|pool|halved",),
        2,
        models=[{"name": "convolutional", "channels": [4] * 10, "epochs": 1}],
    ),
    run("image-strength-nan", ("strength", "nan"), models=[{"name": "dense", "sparsity": "kl", "strength": float("nan")}]),
    run("image-seed-huge", ("seed",), seed=2**64),
    run("image-white-of-digits", ("white",), white=255),
    run("image-refit-of-stages", ("refit", "stacked"), refit=True, models=[{"name": "stacked"}]),
    run("image-export-unknown", ("export", "dense"), export={"model": "dense"}),
]


@cases(*FOLDERS, *IDX_FILES, *RUNS)
def test_pictures(case, examine):
    examine(case)
